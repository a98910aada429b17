"""Fixed perturbations of held-out radiographs: a validation set that imitates another hospital's habits.

Each takes and returns uint8 [H, W] and depends on nothing but its argument, so that figures can be compared across
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]


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
    out, side = image.copy(), 40
    for rows in (slice(0, side), slice(-side, None)):
        for columns in (slice(0, side), slice(-side, None)):
            out[rows, columns] = 0
    return out


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
