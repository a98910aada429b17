"""Side markers: letters pasted into every corner, and what looks like a marker erased."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_train.audit.answers import Levels, answer
from cxr_train.audit.outcome import Outcome, compare
from cxr_train.audit.setting import LUNG, Setting
from cxr_train.metrics import Estimate

_LETTERS = ("R", "L")
_SCALE, _THICKNESS = 1.0, 2
_MARGIN = 12  # pixels between a letter and the border of the picture
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

    pasted: tuple[Outcome, ...]
    any_flip: Estimate
    found: dict[str, int]
    erased: Outcome | None

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "pasted": [each.to_json() for each in self.pasted],
            "any_flip": self.any_flip.to_json(),
            "found": self.found,
            "erased": None if self.erased is None else self.erased.to_json(),
        }


def mark(setting: Setting) -> Markers:
    """Pastes and erases markers in radiographs of both classes."""
    pixels, everything = setting.images.pixels, np.ones(len(setting.labels), bool)
    was = setting.answers.probability >= setting.threshold
    pasted, flipped = [], np.zeros(len(was), bool)
    for name, changed in _pasted(pixels):
        after = answer(setting.model, changed)
        flipped |= was != (after.probability >= setting.threshold)
        pasted.append(compare(setting, name, after, everything))
    masks = np.zeros_like(pixels) if setting.masks is None else setting.masks
    shown = [marker_like(image, mask) for image, mask in zip(pixels, masks, strict=True)]
    rows = np.array([each.any() for each in shown])
    erased = None
    if rows.any():
        changed = np.stack([_erased(*pair) for pair in zip(pixels, shown, strict=True) if pair[1].any()])
        erased = compare(setting, "marker erased", answer(setting.model, changed), rows)
    found = {name: int((rows & members).sum()) for name, members in setting.classes.items()}
    return Markers(tuple(pasted), setting.mean(flipped, everything), found, erased)


def marker_like(image: Levels, mask: Levels) -> NDArray[np.bool_]:
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


def _pasted(pixels: Levels) -> Iterator[tuple[str, Levels]]:
    height, width = pixels.shape[1:]
    for letter in _LETTERS:
        (across, down), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, _THICKNESS)
        for corner, place in {
            "top left": (_MARGIN, _MARGIN + down),
            "top right": (width - _MARGIN - across, _MARGIN + down),
            "bottom left": (_MARGIN, height - _MARGIN),
            "bottom right": (width - _MARGIN - across, height - _MARGIN),
        }.items():
            yield f"{letter}, {corner}", np.stack([_written(image, letter, place) for image in pixels])


def _written(image: Levels, letter: str, place: tuple[int, int]) -> Levels:
    font = cv2.FONT_HERSHEY_SIMPLEX
    drawn = cv2.putText(image.copy(), letter, place, font, _SCALE, 255, _THICKNESS, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)


def _erased(image: Levels, marker: NDArray[np.bool_]) -> Levels:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _ERASE + 1, 2 * _ERASE + 1))
    grown = cv2.dilate(marker.astype(np.uint8), disc)
    return np.asarray(cv2.inpaint(image, grown, 3, cv2.INPAINT_TELEA), np.uint8)
