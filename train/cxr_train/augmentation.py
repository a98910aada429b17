"""What is varied while training, so that the network cannot lean on it.

Every function takes and returns grey pixels, float32 [H, W] in 0..255. Lung masks are float32 [H, W] in 0..1, with NaN
where the lung's outline is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How much of each variation is applied; every field is a probability per image unless said.

    Attributes:
        rotation: Largest angle in degrees.
        scale: Largest relative change of size, and half as much of the aspect ratio.
        shift: Largest translation as a share of the side.
        flip: Mirrored left to right.
        background: What lies outside the lungs is replaced (needs a mask).
        exposure: Gamma, contrast, brightness or window changed.
        equalise: Histogram equalised, globally or locally.
        resolution: Resampled to a lower resolution and back.
        blur: Smoothed or sharpened.
        jpeg: Compressed and decoded again.
        noise: Gaussian noise added.
        markers: Letters, digits or bright bars pasted.
        borders: Edges or corners blacked or whitened.
        erase: Rectangles filled.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    background: float = 0.0
    exposure: float = 0.0
    equalise: float = 0.0
    resolution: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    noise: float = 0.0
    markers: float = 0.0
    borders: float = 0.0
    erase: float = 0.0


def augment(
    pixels: Pixels,
    mask: Pixels | None,
    other: Pixels,
    *,
    amount: Augmentation,
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels | None]:
    """Varies one radiograph, and its mask with it.

    Args:
        pixels: The radiograph.
        mask: Its lungs, or None.
        other: Another radiograph, of any class, whose surroundings may be borrowed.
        amount: What is varied how often.
        rng: Source of chance.

    Returns:
        The varied radiograph and mask.
    """
    pixels, mask = _geometry(pixels, mask, amount, rng)
    if mask is not None and rng.random() < amount.background and (mask > 0.5).mean() > 0.05:
        pixels = replace_background(pixels, mask, other, rng)
    if rng.random() < amount.equalise:
        pixels = _equalise(pixels, rng)
    if rng.random() < amount.exposure:
        pixels = _exposure(pixels, rng)
    if rng.random() < amount.markers:
        pixels = paste_marker(pixels, rng)
    if rng.random() < amount.resolution:
        pixels = _resample(pixels, rng)
    if rng.random() < amount.blur:
        pixels = _blur_or_sharpen(pixels, rng)
    if rng.random() < amount.noise:
        pixels = pixels + rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 12))
    if rng.random() < amount.jpeg:
        pixels = _jpeg(pixels, int(rng.integers(25, 95)))
    if rng.random() < amount.borders:
        pixels = _borders(pixels, rng)
    if rng.random() < amount.erase:
        pixels = _erase(pixels, rng)
    return np.clip(pixels, 0, 255), mask


def _geometry(
    pixels: Pixels, mask: Pixels | None, amount: Augmentation, rng: np.random.Generator
) -> tuple[Pixels, Pixels | None]:
    height, width = pixels.shape
    angle = np.deg2rad(rng.uniform(-amount.rotation, amount.rotation))
    size = np.exp(rng.uniform(-amount.scale, amount.scale))
    aspect = np.exp(rng.uniform(-amount.scale, amount.scale) / 2)
    mirror = -1.0 if rng.random() < amount.flip else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([size * aspect * mirror, size / aspect])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    move = rng.uniform(-amount.shift, amount.shift, 2) * (width, height)
    matrix = np.hstack([linear, (centre - linear @ centre + move)[:, None]])
    edge, fill = (cv2.BORDER_REPLICATE, 0.0) if rng.random() < 0.5 else (cv2.BORDER_CONSTANT, rng.uniform(0, 60))
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=edge, borderValue=fill)
    if mask is None:
        return moved, None
    outside = float("nan") if np.isnan(mask).all() else 0.0
    turned = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=outside)
    return moved, turned


def replace_background(pixels: Pixels, mask: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """Replaces what lies outside the lungs by something that says nothing about the class; the edge is soft."""
    lungs = (np.nan_to_num(mask, nan=1.0) > 0.5).astype(np.float32)
    margin = int(rng.integers(0, 6))
    if margin:
        lungs = cv2.dilate(lungs, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    lungs = cv2.GaussianBlur(lungs, (0, 0), rng.uniform(0.8, 5))
    height, width = pixels.shape
    choice = rng.integers(5)
    if choice == 0:
        background: Pixels | float = float(rng.uniform(0, 255))
    elif choice == 1:
        background = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(5, 25))
    elif choice == 2:
        background = other if rng.random() < 0.5 else other[:, ::-1]
    elif choice == 3:
        cells = int(rng.integers(3, 24))
        clouds = rng.uniform(0, 255, (cells, cells)).astype(np.float32)
        background = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        noise = rng.standard_normal(pixels.shape, np.float32)
        background = pixels + noise * np.float32(rng.uniform(20, 80))
    return np.clip(lungs * pixels + (1 - lungs) * background, 0, 255).astype(np.float32)


def paste_marker(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Burns in one to three letters, digits or bars, mostly near the edges, as film markers are."""
    height, width = pixels.shape
    out = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        level = int(rng.choice([255, 240, 200, 0]))
        x, y = _near_edge(width, rng), _near_edge(height, rng)
        if rng.random() < 0.75:
            text = str(rng.choice(["R", "L", "PA", "AP", "R", "L", "PORT", "SUPINE", str(rng.integers(10, 9999))]))
            size, thick = rng.uniform(0.4, 1.2), int(rng.integers(1, 4))
            cv2.putText(out, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, level, thick, cv2.LINE_AA)
        else:
            side = rng.integers(4, 40, 2)
            cv2.rectangle(out, (x, y), (x + int(side[0]), y + int(side[1])), level, -1)
    return out.astype(np.float32)


def _near_edge(length: int, rng: np.random.Generator) -> int:
    place = rng.uniform(0, 0.22)
    return int(length * (place if rng.random() < 0.5 else 0.95 - place))


def _exposure(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    unit = pixels / 255
    low, high = np.percentile(unit, (rng.uniform(0, 3), rng.uniform(97, 100))) if rng.random() < 0.3 else (0.0, 1.0)
    unit = np.clip((unit - low) / max(high - low, 1e-3), 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    mean = unit.mean()
    return np.clip((mean + (unit - mean) * rng.uniform(0.55, 1.4) + rng.uniform(-0.12, 0.12)) * 255, 0, 255).astype(
        np.float32
    )


def _equalise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    levels = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    if rng.random() < 0.5:
        return cv2.equalizeHist(levels).astype(np.float32)
    tiles = int(rng.integers(2, 9))
    return cv2.createCLAHE(clipLimit=rng.uniform(1, 4), tileGridSize=(tiles, tiles)).apply(levels).astype(np.float32)


def _resample(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape
    size = int(rng.integers(72, 200))
    down = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    up = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return cv2.resize(cv2.resize(pixels, (size, size), interpolation=down), (width, height), interpolation=up)


def _blur_or_sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() < 0.6:
        return cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 2.0))
    return pixels + np.float32(rng.uniform(0.3, 1.5)) * (pixels - cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 2)))


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    levels = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)


def _borders(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    out = pixels.copy()
    height, width = out.shape
    level = 0.0 if rng.random() < 0.75 else rng.uniform(0, 255)
    if rng.random() < 0.5:
        top, bottom, left, right = (int(v) for v in rng.integers(0, 26, 4) * (rng.random(4) < 0.75))
        out[:top] = level
        out[height - bottom :] = level
        out[:, :left] = level
        out[:, width - right :] = level
    else:
        for corner in range(4):
            if rng.random() < 0.6:
                h, w = (int(v) for v in rng.integers(10, 60, 2))
                rows = slice(0, h) if corner < 2 else slice(height - h, height)
                columns = slice(0, w) if corner % 2 else slice(width - w, width)
                out[rows, columns] = level
    return out


def _erase(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    out = pixels.copy()
    height, width = out.shape
    for _ in range(rng.integers(1, 4)):
        h, w = (int(v) for v in rng.integers(12, 64, 2))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        out[y : y + h, x : x + w] = rng.uniform(0, 255) if rng.random() < 0.5 else out.mean()
    return out
