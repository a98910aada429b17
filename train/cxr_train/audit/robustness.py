"""What harmless changes of the radiographs do to the answers: variations, other surroundings, side markers.

Every change takes and gives uint8 [H, W] and depends on nothing but its argument. None of them may change the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_train.audit.answers import LUNG, Change, Rows, Setting, answer, compare
from cxr_train.metrics import Estimate
from cxr_train.perturbations import PERTURBATIONS, Levels

Variation = Callable[[Levels], Levels]
_MARKERS = ("marker R", "marker L")
_GREY = 128
_MARGIN, _FEATHER = 8, 2.0  # the border of the lungs must stay: pleura and ribs lie there
_LETTERS = ("R", "L")
_SCALE, _THICKNESS = 1.0, 2
_OFFSET = 12  # pixels between a letter and the border of the picture
_STANDS_OUT = 70  # grey levels above the surroundings
_SHARP = 60  # grey levels between it and the two pixels around it: bones fade, letters end
_AREA = (12, 500)  # pixels of a marker in a picture of 224x224
_RIM = 0.22  # markers lie this close to a border, as a share of the picture
_ERASE = 3  # pixels around the marker that go with it


@dataclass(frozen=True)
class Markers:
    """What markers do to the answers.

    Attributes:
        pasted: One outcome for each letter in each corner.
        any_flip: Share of the images whose label flips with at least one of the pasted letters.
        found: By class, how many images show what looks like a marker.
        erased: The outcome on those images of erasing it; None where there are none.
    """

    pasted: tuple[Change, ...]
    any_flip: Estimate
    found: dict[str, int]
    erased: Change | None


def probe(setting: Setting) -> Iterator[Change]:
    """Applies every variation to every radiograph; those of the surroundings only where there is a lung mask."""
    pixels, everything = setting.images.pixels, np.ones(len(setting.labels), bool)
    for name, vary in variations().items():
        changed = np.stack([vary(image) for image in pixels])
        yield compare(setting, name, answer(setting.model, changed), everything)
    rows = setting.masked
    if setting.masks is not None and len(set(setting.labels[rows].tolist())) == 2:
        for name, changed in outside_replaced(pixels[rows], setting.masks[rows], setting.labels[rows]):
            yield compare(setting, name, answer(setting.model, changed), rows)


def hide_lungs(setting: Setting) -> Change | None:
    """Hides the lungs: an honest network no longer tells the classes apart. None without masks."""
    rows = setting.masked
    if setting.masks is None or not rows.any():
        return None
    changed = lungs_hidden(setting.images.pixels[rows], setting.masks[rows])
    return compare(setting, "lungs hidden", answer(setting.model, changed), rows)


def mark(setting: Setting) -> Markers:
    """Pastes and erases markers in radiographs of both classes."""
    pixels, everything = setting.images.pixels, np.ones(len(setting.labels), bool)
    was = setting.rank(setting.answers.probability)
    pasted, flipped = [], np.zeros(len(was))
    for name, changed in _pasted(pixels):
        after = answer(setting.model, changed)
        flipped = np.maximum(flipped, np.abs(was - setting.rank(after.probability)))
        pasted.append(compare(setting, name, after, everything))
    masks = np.zeros_like(pixels) if setting.masks is None else setting.masks
    shown = [marker_like(image, mask) for image, mask in zip(pixels, masks, strict=True)]
    rows = np.array([each.any() for each in shown])
    erased = None
    if rows.any():
        changed = np.stack([_erased(*pair) for pair in zip(pixels, shown, strict=True) if pair[1].any()])
        erased = compare(setting, "marker erased", answer(setting.model, changed), rows)
    found = {name: int((rows & members).sum()) for name, members in setting.classes.items()}
    return Markers(tuple(pasted), setting.share(flipped, everything), found, erased)


def marker_like(image: Levels, mask: Levels) -> Rows:
    """Finds what looks like a burnt-in letter: small, bright, sharply bounded, near a border, no lung.

    A rule of thumb (white top-hat, area, contrast): it also finds tubes and clips, and misses faint markers.

    Args:
        image: uint8 [H, W].
        mask: uint8 [H, W], `LUNG` where there is lung.

    Returns:
        bool [H, W].
    """
    height, width = image.shape
    side = max(3, round(height / 9) | 1)
    block = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    bright = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, block) >= _STANDS_OUT
    rim = np.ones(image.shape, bool)
    rim[round(_RIM * height) : -round(_RIM * height), round(_RIM * width) : -round(_RIM * width)] = False
    count, regions, facts, _ = cv2.connectedComponentsWithStats((bright & (mask != LUNG)).astype(np.uint8))
    out = np.zeros(image.shape, bool)
    scale = image.size / 224**2
    for region in range(1, count):
        across, down, area = facts[region][2:]
        here = regions == region
        ring = (cv2.dilate(here.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~here
        if (
            _AREA[0] * scale <= area <= _AREA[1] * scale
            and max(across, down) <= 1.5 * side
            and max(across, down) <= 3 * min(across, down)
            and image[here].mean() - image[ring].mean() >= _SHARP
            and rim[here].all()
        ):
            out |= here
    return out


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


def outside_replaced(pixels: Levels, masks: Levels, labels: NDArray[np.int32]) -> Iterator[tuple[str, Levels]]:
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


def _warped(image: Levels, matrix: NDArray[np.float64]) -> Levels:
    height, width = image.shape
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _rotation(image: Levels, degrees: float, scale: float = 1.0) -> NDArray[np.float64]:
    height, width = image.shape
    return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale))


def _soft(mask: Levels) -> NDArray[np.float64]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _MARGIN + 1, 2 * _MARGIN + 1))
    grown = cv2.dilate((mask == LUNG).astype(np.uint8), disc).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), _FEATHER), np.float32)


def _mixed(inner: Levels, outer: Levels, inside: NDArray[np.float64]) -> Levels:
    return np.rint(inside * inner + (1 - inside) * outer).astype(np.uint8)


def _pasted(pixels: Levels) -> Iterator[tuple[str, Levels]]:
    height, width = pixels.shape[1:]
    for letter in _LETTERS:
        (across, down), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, _THICKNESS)
        for corner, place in {
            "top left": (_OFFSET, _OFFSET + down),
            "top right": (width - _OFFSET - across, _OFFSET + down),
            "bottom left": (_OFFSET, height - _OFFSET),
            "bottom right": (width - _OFFSET - across, height - _OFFSET),
        }.items():
            yield f"{letter}, {corner}", np.stack([_written(image, letter, place) for image in pixels])


def _written(image: Levels, letter: str, place: tuple[int, int]) -> Levels:
    font = cv2.FONT_HERSHEY_SIMPLEX
    drawn = cv2.putText(image.copy(), letter, place, font, _SCALE, 255, _THICKNESS, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)


def _erased(image: Levels, marker: Rows) -> Levels:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _ERASE + 1, 2 * _ERASE + 1))
    grown = cv2.dilate(marker.astype(np.uint8), disc)
    return np.asarray(cv2.inpaint(image, grown, 3, cv2.INPAINT_TELEA), np.uint8)
