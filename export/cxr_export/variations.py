"""The same radiograph as another hospital might have sent it: what a gate has to let through."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.float32]
_SHARE = 0.3  # of the copies that each change befalls


def varied(pixels: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Gives every radiograph another frame, exposure and sharpness, each at random.

    Args:
        pixels: float32 [N, height, width] in 0..255.
        seed: Decides which change befalls which.

    Returns:
        float32 [N, height, width] in 0..255, whole grey levels.
    """
    rng = np.random.default_rng(seed)
    changes = (_framed, _exposed, _equalised, _resampled, _sharpened, _noised, _striped, _bordered, _marked)
    out = np.empty_like(pixels)
    for row, image in enumerate(pixels):
        copy = image
        for change in changes:
            if rng.random() < _SHARE:
                copy = np.clip(change(copy, rng), 0, 255)
        out[row] = np.rint(copy)
    return out


def _framed(image: Levels, rng: np.random.Generator) -> Levels:
    """Turned by up to 8 degrees, zoomed and shifted by up to a tenth, on black or on the edge's own grey."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-8, 8), rng.uniform(0.9, 1.15))
    turn[:, 2] += rng.uniform(-0.08, 0.08, 2) * (width, height)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    return cv2.warpAffine(image, turn, (width, height), borderMode=border)


def _exposed(image: Levels, rng: np.random.Generator) -> Levels:
    bent = 255 * (image / 255) ** 2.0 ** rng.uniform(-0.7, 0.7)
    mean = float(bent.mean())
    return mean + rng.uniform(0.6, 1.3) * (bent - mean) + rng.uniform(-20, 20)


def _equalised(image: Levels, rng: np.random.Generator) -> Levels:
    levels = np.rint(image).astype(np.uint8)
    if rng.random() < 0.5:
        return cv2.equalizeHist(levels).astype(np.float32)
    return cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(levels).astype(np.float32)


def _resampled(image: Levels, rng: np.random.Generator) -> Levels:
    height, width = image.shape
    scale = rng.uniform(0.4, 0.9)
    small = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _sharpened(image: Levels, rng: np.random.Generator) -> Levels:
    return image + rng.uniform(0.2, 1.2) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2)))


def _noised(image: Levels, rng: np.random.Generator) -> Levels:
    return image + rng.normal(0, rng.uniform(1, 9), image.shape).astype(np.float32)


def _striped(image: Levels, rng: np.random.Generator) -> Levels:
    """Vertical lines as an anti-scatter grid leaves them, the finer ones as a coarse resize aliases them."""
    columns = np.arange(image.shape[1], dtype=np.float32)
    wave = np.sin(2 * np.pi * columns / rng.uniform(2, 8) + rng.uniform(0, 2 * np.pi))
    return image + rng.uniform(2, 14) * np.sqrt(image / 255) * wave.astype(np.float32)


def _bordered(image: Levels, rng: np.random.Generator) -> Levels:
    """Up to a tenth hidden behind a black or white edge on some sides, or a black square in every corner."""
    height, width = image.shape
    out, grey = np.full_like(image, rng.choice([0, 0, 255])), int(rng.integers(2))
    if grey:
        top, bottom = rng.integers(0, height // 10, 2)
        left, right = rng.integers(0, width // 10, 2)
        shown = (slice(top, height - bottom), slice(left, width - right))
        out[shown] = image[shown]
        return out
    side = int(rng.integers(10, max(11, height // 6)))
    out = image.copy()
    for rows in (slice(0, side), slice(-side, None)):
        for columns in (slice(0, side), slice(-side, None)):
            out[rows, columns] = 0
    return out


def _marked(image: Levels, rng: np.random.Generator) -> Levels:
    height, width = image.shape
    text = "".join(rng.choice(list("RLAPSITZ"), int(rng.integers(1, 4))))
    place = (int(rng.uniform(0, 0.85) * width), int(rng.choice([0.15, 0.97]) * height))
    levels = np.rint(image).astype(np.uint8)
    scale = height / 224 * rng.uniform(0.5, 1.2)
    return cv2.putText(levels, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 2, cv2.LINE_AA).astype(np.float32)
