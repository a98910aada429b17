"""DICOM files → radiographs.

Only the elements that the pixels need, a few facts that identify nobody, and the two dates that make an age are parsed
at all; what pydicom says while reading is kept silent, because its warnings and errors may quote any value of the file.
"""

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxr_edge.errors import InputError
from cxr_edge.reading import attributes
from cxr_edge.reading.display_pipeline import to_grey
from cxr_edge.reading.limits import MAX_BYTES, check_size
from cxr_edge.reading.radiograph import Radiograph, Source

_TAGS = (
    *attributes.TAGS,
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelIntensityRelationshipSign"),
    *(f"{color}PaletteColorLookupTable{part}" for color in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
)
_INSTALL = 'pip install "cxr-edge[dicom]"'
_SILENCE = threading.RLock()


def read_dicom(data: bytes, path: Path | None = None) -> Radiograph:
    """Read a single-frame DICOM image as it is meant to be shown.

    In this order: modality LUT or rescale (PS3.3 C.11.1), VOI LUT or the first window (C.11.2), inversion of
    MONOCHROME1 (C.7.6.3.1.2), scaling to 0..1. A window that makes no sense, or none in an image deeper than 8 bits,
    gives way to the range of the values; pixel padding (C.7.5.1.1.2) counts for nothing and becomes black. Color is
    turned to grey by luma. `Source.steps` states what was done.

    Args:
        data: The whole file, with or without preamble.
        path: Where it came from.

    Returns:
        float32 pixels in 0..1.

    Raises:
        InputError: The file has no pixels, several frames, more than 100 megapixels, is damaged, or its transfer
            syntax has no decoder here. No message quotes a value that could identify somebody.
    """
    with _silent():
        try:
            return _read(data, path)
        except InputError:
            raise
        except Exception:  # noqa: BLE001  # on damaged files pydicom raises almost anything, quoting their values
            raise InputError("the DICOM data are damaged or cut off; fetch the file again", kind="damaged") from None


def _read(data: bytes, path: Path | None) -> Radiograph:
    dataset = _dataset(data)
    stored = _stored(dataset, data)
    steps: list[str] = []
    doubts: list[str] = []
    pixels = to_grey(dataset, stored, steps, doubts)
    if pixels.min() == pixels.max():
        doubts.append("Every pixel has the same value: this is no radiograph.")
    age = attributes.age(dataset)
    source = Source(
        path,
        "DICOM",
        int(dataset.Columns),
        int(dataset.Rows),
        int(dataset.BitsStored),
        tuple(steps),
        modality=attributes.code(dataset, "Modality"),
        body_part=attributes.code(dataset, "BodyPartExamined"),
        view_position=attributes.code(dataset, "ViewPosition"),
        patient_age_years=age.years if age else None,
        patient_age_stated=age.stated if age else None,
    )
    return Radiograph(pixels, 1.0, source, tuple(doubts))


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    # Both switches are the process's own, so two threads must not throw them at once.
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def _dataset(data: bytes) -> Dataset:
    _check_inflated_size(data)
    dataset = dcmread(BytesIO(data), force=True, specific_tags=list(_TAGS))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    return dataset


def _check_inflated_size(data: bytes) -> None:
    """Refuse a deflated data set that would fill the memory; pydicom inflates all of it at once."""
    if str(DeflatedExplicitVRLittleEndian).encode() in data[:1024]:
        start = 144 + int.from_bytes(data[140:144], "little")
        if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], MAX_BYTES + 1)) > MAX_BYTES:
            raise InputError("inflates to more than 1 GiB, which no radiograph does", kind="too-large")


def _stored(dataset: Dataset, data: bytes) -> NDArray[Any]:
    """Decode the pixels as stored; YBR becomes RGB."""
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    syntax = dataset.file_meta.TransferSyntaxUID
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise InputError("floating-point pixel data (7FE0,0008) have no grey scale here", kind="unsupported")
    if "PixelData" not in dataset:
        # Where compressed pixels lack their end, pydicom gives none of them.
        if b"\xe0\x7f\x10\0" in data:
            raise InputError("cut off inside its pixel data (7FE0,0010); fetch it again", kind="truncated")
        raise InputError("a DICOM file without pixel data (7FE0,0010); expected an image", kind="no-pixels")
    check_size(columns, rows, int(dataset.get("NumberOfFrames") or 1))
    try:
        if not syntax.is_valid:
            raise InputError("an invalid transfer syntax (0002,0010); export the image again", kind="damaged")
        decoder = get_decoder(syntax)
    except NotImplementedError:  # pydicom's word for a transfer syntax that it has no decoder class for
        raise InputError(f"transfer syntax {syntax.name} ({syntax}) is no still image", kind="unsupported") from None
    if not decoder.is_available:
        raise InputError(f"no decoder for {syntax.name} ({syntax}); install one: {_INSTALL}", kind="missing-decoder")
    if not syntax.is_compressed and len(dataset.PixelData) < rows * columns * int(dataset.BitsAllocated) // 8:
        raise InputError(f"cut off before the end of its {columns}x{rows} pixels; fetch it again", kind="truncated")
    try:
        return pixel_array(dataset)
    except Exception:  # noqa: BLE001  # every decoder has its own
        raise InputError(
            f"its pixels ({syntax.name}) cannot be decoded; export the image again uncompressed", kind="damaged"
        ) from None
