"""Decoded pixels with where they came from, and what speaks against their grey levels.

Grey levels may look inverted, clipped to black and white, or washed out. The limits leave the radiographs alone that
the shipped network was trained on, every one of which is some way from them;
``tests/edge/reading/test_image_quality.py`` checks that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """Where a radiograph came from and what was done to its pixels; nothing that identifies a person.

    Attributes:
        path: The file, or None for bytes and arrays.
        format: ``JPEG``, ``PNG``, ``TIFF``, ``BMP``, ``DICOM`` or ``array``.
        width: Columns as stored, before any rotation.
        height: Rows as stored, before any rotation.
        bits: Bits a sample as stored.
        steps: What was applied, in order, such as ``EXIF orientation 6`` or ``window 2048/4096 (LINEAR)``.
        modality: DICOM Modality (0008,0060).
        body_part: DICOM Body Part Examined (0018,0015).
        view_position: DICOM View Position (0018,5101).
        anatomic_region: What the code in DICOM Anatomic Region Sequence (0008,2218) means, such as ``CHEST``.
        view_code: What the code in DICOM View Code Sequence (0054,0220) means, such as ``AP`` or ``left lateral``.
        patient_age_years: DICOM Patient's Age (0010,1010) in years; where there is none, the time from Patient's Birth
            Date (0010,0030) to Study Date (0008,0020).
        patient_age_stated: Patient's Age as the file has it, such as ``018M``; None where it was computed.
    """

    path: Path | None
    format: str
    width: int
    height: int
    bits: int
    steps: tuple[str, ...] = ()
    modality: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    anatomic_region: str | None = None
    view_code: str | None = None
    patient_age_years: float | None = None
    patient_age_stated: str | None = None

    def to_json(self) -> dict[str, object]:
        """Give the record of the source; facts that the file does not state are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["path"] = None if self.path is None else os.fspath(self.path)
        values["steps"] = list(self.steps)
        return {name: value for name, value in values.items() if value is not None or name == "path"}


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One upright grey image, black at 0 and white at ``maximum``.

    Attributes:
        pixels: Grey values, uint8, uint16 or float32 [height, width], within 0..maximum.
        maximum: The white level: 255 for 8-bit files, 65535 for 16-bit ones.
        source: Where the pixels came from.
        warnings: What a reader of the answer should know, one sentence each.
    """

    pixels: Pixels
    maximum: float
    source: Source
    warnings: tuple[str, ...] = ()


_SIDE = 128  # to twice as many pixels a side are enough to judge by
_MARGIN = 0.02
_CLIPPED = 0.5
_WASHED_OUT = 0.2
_AT_THE_END = 2 / 255  # JPEG lets pure black and white stray by that much


def middle_over_sides(pixels: Pixels, maximum: float) -> float:
    """Give how much brighter the middle of a picture is than what lies on both sides of it.

    Spine and heart stop more X-rays than the lungs beside them: with bone white, the middle of a frontal chest
    radiograph is the brighter one, however it is framed.

    Args:
        pixels: Grey values [height, width], 0..maximum.
        maximum: The white level.

    Returns:
        Difference of the means, as a share of the white level, -1..1.
    """
    small = _sampled(pixels)
    left, right = _mean(small, (0.25, 0.6), (0.18, 0.36)), _mean(small, (0.25, 0.6), (0.64, 0.82))
    return (_mean(small, (0.25, 0.75), (0.42, 0.58)) - (left + right) / 2) / maximum


def looks(pixels: Pixels, maximum: float) -> str:
    """Say ``inverted``, ``upright`` or, of a picture whose middle and sides are alike, ``unclear``."""
    difference = middle_over_sides(pixels, maximum)
    return "inverted" if difference < -_MARGIN else "upright" if difference > _MARGIN else "unclear"


def exposure_warnings(
    pixels: Pixels, maximum: float, *, counted: NDArray[np.bool_] | None = None, window: str | None = None
) -> tuple[str, ...]:
    """Say what speaks against the grey levels; nothing about a picture of one grey level.

    Args:
        pixels: Grey values [height, width], 0..maximum, as they are shown.
        maximum: The white level.
        counted: Which pixels are the radiograph, bool [height, width]; None means all.
        window: The DICOM window that made them, with its tags; None if there was none.

    Returns:
        One sentence each.
    """
    values = _sampled(pixels) if counted is None else _sampled(pixels)[_sampled(counted)]
    if not values.size or values.min() == values.max():
        return ()
    warnings = []
    ends = (values <= _AT_THE_END * maximum) | (values >= (1 - _AT_THE_END) * maximum)
    low, high = _quantile(values, 0.01) / maximum, _quantile(values, 0.99) / maximum
    cause = window or "Window or exposure"
    if ends.mean() > _CLIPPED:
        warnings.append(f"{cause} clips {ends.mean():.0%} of the pixels to black or white: detail is lost.")
    elif high - low < _WASHED_OUT:
        warnings.append(
            f"{cause} leaves the pixels only {high - low:.0%} of the way from black to white: hardly any contrast."
        )
    if looks(pixels, maximum) == "inverted":
        warnings.append("The picture looks inverted: its middle is darker than both sides. Bone must be white.")
    return tuple(warnings)


def _sampled(pixels: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (max(1, length // _SIDE) for length in pixels.shape)
    return pixels[::rows, ::columns]


def _mean(pixels: NDArray[Any], rows: tuple[float, float], columns: tuple[float, float]) -> float:
    height, width = pixels.shape
    top, bottom = (int(height * part) for part in rows)
    left, right = (int(width * part) for part in columns)
    return float(pixels[top : max(bottom, top + 1), left : max(right, left + 1)].mean())


def _quantile(values: NDArray[np.generic], share: float) -> float:
    """Give what `np.quantile` gives, without the modules that it imports at its first call."""
    place = share * (values.size - 1)
    below, above = int(place), min(int(place) + 1, values.size - 1)
    ordered = np.partition(values, (below, above), axis=None)
    return float(ordered[below] + (place - below) * (float(ordered[above]) - float(ordered[below])))
