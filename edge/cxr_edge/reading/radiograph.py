"""Decoded pixels with where they came from."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

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
