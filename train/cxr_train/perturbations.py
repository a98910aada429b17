"""Radiographs as another hospital might have sent them: a validation set, and what a gate has to let through.

The named perturbations take and return uint8 [H, W] and depend on nothing but their argument, so that figures can be
compared across runs. The copies of `varied` are changed at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_train.augmentation import Pixels

Levels = NDArray[np.uint8]
_SHARE = 0.3  # of the copies that each change befalls


def _level(pixels: NDArray[np.floating]) -> Levels:
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def _gamma(exponent: float) -> Callable[[Levels], Levels]:
    return lambda image: _level(255 * (image / 255.0) ** exponent)


def _contrast(image: Levels) -> Levels:
    return _level(image.mean() + 0.7 * (image - image.mean()))


def _blur(image: Levels) -> Levels:
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def _sharpen(image: Levels) -> Levels:
    return _level(image + 0.8 * (image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), 1.0)))


def _down_up(image: Levels) -> Levels:
    height, width = image.shape
    small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _noise(image: Levels) -> Levels:
    return _level(image + np.random.default_rng(0).normal(0, 8, image.shape))


def _border(image: Levels) -> Levels:
    out = np.zeros_like(image)
    out[16:-16, 16:-16] = image[16:-16, 16:-16]
    return out


def _corners(image: Levels) -> Levels:
    return _without_corners(image, 40)


def _letter(text: str, x: int) -> Callable[[Levels], Levels]:
    def paste(image: Levels) -> Levels:
        out = image.copy()
        return cv2.putText(out, text, (x, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)

    return paste


PERTURBATIONS: dict[str, Callable[[Levels], Levels]] = {
    "border": _border,
    "corners": _corners,
    "blur": _blur,
    "sharpen": _sharpen,
    "down-up": _down_up,
    "gamma 0.7": _gamma(0.7),
    "gamma 1.4": _gamma(1.4),
    "contrast 0.7": _contrast,
    "noise 8": _noise,
    "marker R": _letter("R", 12),
    "marker L": _letter("L", 188),
    "equalised": cv2.equalizeHist,
}


def variants(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The images as they are, then under each perturbation, then under each pair of perturbations next to each other.

    Args:
        pixels: uint8 [N, H, W].

    Yields:
        uint8 [N, H, W], 25 times.
    """
    yield pixels
    each = list(PERTURBATIONS.values())
    for number, perturb in enumerate(each):
        once = np.stack([perturb(image) for image in pixels])
        yield once
        yield np.stack([each[number - 1](image) for image in once])


def shifted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copies of the images, each with the perturbation whose turn it is.

    Args:
        pixels: uint8 [N, H, W].

    Returns:
        uint8 [N, H, W].
    """
    each = list(PERTURBATIONS.values())
    return np.stack([each[row % len(each)](image) for row, image in enumerate(pixels)])


def varied(pixels: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Gives every radiograph another frame, exposure and sharpness, each at random.

    The changes are milder than those of a training: what a gate accepts as a copy, it also accepts from a stranger.

    Args:
        pixels: uint8 [N, H, W].
        seed: Decides which change befalls which.

    Returns:
        uint8 [N, H, W].
    """
    rng = np.random.default_rng(seed)
    changes = (_framed, _exposed, _equalised, _resampled, _sharpened, _noised, _striped, _bordered, _marked)
    out = np.empty_like(pixels)
    for row, image in enumerate(pixels):
        copy = image.astype(np.float32)
        for change in changes:
            if rng.random() < _SHARE:
                copy = np.clip(change(copy, rng), 0, 255)
        out[row] = _level(copy)
    return out


def _framed(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Turned by up to 8 degrees, zoomed and shifted by up to a tenth, on black or on the edge's own grey."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-8, 8), rng.uniform(0.9, 1.15))
    turn[:, 2] += rng.uniform(-0.08, 0.08, 2) * (width, height)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    return cv2.warpAffine(image, turn, (width, height), borderMode=border)


def _exposed(image: Pixels, rng: np.random.Generator) -> Pixels:
    bent = 255 * (image / 255) ** 2.0 ** rng.uniform(-0.7, 0.7)
    mean = float(bent.mean())
    return mean + rng.uniform(0.6, 1.3) * (bent - mean) + rng.uniform(-20, 20)


def _equalised(image: Pixels, rng: np.random.Generator) -> Pixels:
    levels = _level(image)
    if rng.random() < 0.5:
        return cv2.equalizeHist(levels).astype(np.float32)
    return cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(levels).astype(np.float32)


def _resampled(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape
    scale = rng.uniform(0.4, 0.9)
    small = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _sharpened(image: Pixels, rng: np.random.Generator) -> Pixels:
    return image + rng.uniform(0.2, 1.2) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2)))


def _noised(image: Pixels, rng: np.random.Generator) -> Pixels:
    return image + rng.normal(0, rng.uniform(1, 9), image.shape).astype(np.float32)


def _striped(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Vertical lines as an anti-scatter grid leaves them, the finer ones as a coarse resize aliases them."""
    columns = np.arange(image.shape[1], dtype=np.float32)
    wave = np.sin(2 * np.pi * columns / rng.uniform(2, 8) + rng.uniform(0, 2 * np.pi))
    return image + rng.uniform(2, 14) * np.sqrt(image / 255) * wave.astype(np.float32)


def _bordered(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Up to a tenth hidden behind a black or white edge on some sides, or a black square in every corner."""
    height, width = image.shape
    out, grey = np.full_like(image, rng.choice([0, 0, 255])), int(rng.integers(2))
    if grey:
        top, bottom = rng.integers(0, height // 10, 2)
        left, right = rng.integers(0, width // 10, 2)
        shown = (slice(top, height - bottom), slice(left, width - right))
        out[shown] = image[shown]
        return out
    return _without_corners(image, int(rng.integers(10, max(11, height // 6))))


def _without_corners(image: NDArray[Any], side: int) -> NDArray[Any]:
    out = image.copy()
    for rows in (slice(0, side), slice(-side, None)):
        for columns in (slice(0, side), slice(-side, None)):
            out[rows, columns] = 0
    return out


def _marked(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape
    text = "".join(rng.choice(list("RLAPSITZ"), int(rng.integers(1, 4))))
    place = (int(rng.uniform(0, 0.85) * width), int(rng.choice([0.15, 0.97]) * height))
    levels = _level(image)
    scale = height / 224 * rng.uniform(0.5, 1.2)
    return cv2.putText(levels, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 2, cv2.LINE_AA).astype(np.float32)
