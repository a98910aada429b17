"""Harmless changes of a radiograph, beyond `cxr_train.perturbations`: none of them may change the answer.

Each takes and returns uint8 [H, W] and depends on nothing but its argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from cxr_train.audit.answers import Levels
from cxr_train.audit.setting import LUNG
from cxr_train.perturbations import PERTURBATIONS

Variation = Callable[[Levels], Levels]

_MARKERS = ("marker R", "marker L")
_GREY = 128
_MARGIN, _FEATHER = 8, 2.0  # the border of the lungs itself must stay: pleura and ribs lie there


def variations() -> dict[str, Variation]:
    """All of them by name; markers have a part of the audit of their own."""
    return {
        **{name: each for name, each in PERTURBATIONS.items() if name not in _MARKERS},
        "JPEG quality 30": _jpeg,
        "shift 8 px": lambda image: _warped(image, np.array([[1, 0, 8], [0, 1, 8]], np.float64)),
        "rotation 5 degrees": lambda image: _warped(image, _rotation(image, 5.0)),
        "zoom 1.1": lambda image: _warped(image, _rotation(image, 0.0, 1.1)),
        "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    }


def outside_replaced(pixels: Levels, masks: Levels, labels: np.ndarray) -> Iterator[tuple[str, Levels]]:
    """Copies of images with what lies outside of the lungs replaced, by grey and by an image of the other class.

    A margin around the lungs stays, and the seam is soft. Pixels that the mask leaves open count as outside.

    Args:
        pixels: uint8 [N, H, W].
        masks: uint8 [N, H, W], `LUNG` where there is lung.
        labels: int32 [N]; both classes.

    Yields:
        Name and uint8 [N, H, W].
    """
    inside = np.stack([_soft(mask) for mask in masks])
    yield "outside the lungs grey", _mixed(pixels, np.full_like(pixels, _GREY), inside)
    donors = np.empty_like(pixels)
    for label in (0, 1):
        own, other = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        donors[own] = pixels[other[np.arange(len(own)) % len(other)]]
    yield "outside the lungs from the other class", _mixed(pixels, donors, inside)


def lungs_hidden(pixels: Levels, masks: Levels) -> Levels:
    """Copies of images, uint8 [N, H, W], with a grey box over the lungs and a margin: their outline would show too."""
    out = pixels.copy()
    for image, mask in zip(out, masks, strict=True):
        down, across = np.nonzero(mask == LUNG)
        top, left = max(0, down.min() - _MARGIN), max(0, across.min() - _MARGIN)
        image[top : down.max() + _MARGIN + 1, left : across.max() + _MARGIN + 1] = _GREY
    return out


def _jpeg(image: Levels) -> Levels:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _warped(image: Levels, matrix: np.ndarray) -> Levels:
    height, width = image.shape
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _rotation(image: Levels, degrees: float, scale: float = 1.0) -> np.ndarray:
    height, width = image.shape
    return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale))


def _soft(mask: Levels) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _MARGIN + 1, 2 * _MARGIN + 1))
    grown = cv2.dilate((mask == LUNG).astype(np.uint8), disc).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), _FEATHER), np.float32)


def _mixed(inner: Levels, outer: Levels, inside: np.ndarray) -> Levels:
    return np.rint(inside * inner + (1 - inside) * outer).astype(np.uint8)
