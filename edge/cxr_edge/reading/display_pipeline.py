"""Stored DICOM values → grey levels: modality LUT → VOI LUT or window → MONOCHROME1 inversion, in that order."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from cxr_edge.errors import InputError
from cxr_edge.reading.image_quality import exposure_warnings, looks

Grey = NDArray[np.float32]


def to_grey(dataset: Dataset, stored: NDArray[Any], steps: list[str], doubts: list[str]) -> Grey:
    """Turn stored values into grey levels as they are meant to be shown.

    Args:
        dataset: The elements that say how.
        stored: Decoded pixel data, [height, width], or [height, width, 3] in RGB order.
        steps: Takes up what was done.
        doubts: Takes up what did not make sense.

    Returns:
        float32 [height, width] in 0..1.

    Raises:
        InputError: The photometric interpretation is unknown.
    """
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        steps.append("color to grey")
        white = np.iinfo(stored.dtype).max if kind == "PALETTE COLOR" else 2**dataset.BitsStored - 1
        grey = np.asarray(cv2.cvtColor(stored.astype(np.float32), cv2.COLOR_RGB2GRAY) / np.float32(white))
        doubts.extend(exposure_warnings(grey, 1.0))
        return grey
    padding = _padding(dataset, stored)
    pixels = _shown(dataset, _rescaled(dataset, stored, steps), ~padding, steps, doubts)
    if kind == "MONOCHROME1":
        steps.append("MONOCHROME1 inverted")
        pixels = 1 - pixels
    elif kind != "MONOCHROME2":
        raise InputError(
            "an unknown photometric interpretation (0028,0004); export it as MONOCHROME2", kind="unsupported"
        )
    windowed = any(step.startswith("window ") for step in steps)
    doubts.extend(exposure_warnings(pixels, 1.0, counted=~padding, window=_window(dataset) if windowed else None))
    doubts.extend(_contradiction(dataset, stored[~padding], pixels[~padding], looks(pixels, 1.0)))
    if padding.any():
        steps.append("pixel padding to black")
        pixels[padding] = 0
    return pixels


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    padding = (stored >= low) & (stored <= high)
    return padding if not padding.all() else ~padding


def _rescaled(dataset: Dataset, stored: NDArray[Any], steps: list[str]) -> NDArray[Any]:
    if dataset.get("ModalityLUTSequence"):
        steps.append("modality LUT")
        return _looked_up(stored, dataset.ModalityLUTSequence[0], dataset)[0]
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or intercept is None or (slope, intercept) == (1, 0):
        return stored
    steps.append(f"rescale slope {slope:g}, intercept {intercept:g}")
    return stored * slope + intercept


def _shown(
    dataset: Dataset, values: NDArray[Any], counted: NDArray[np.bool_], steps: list[str], doubts: list[str]
) -> Grey:
    """Map modality values to 0..1."""
    if dataset.get("VOILUTSequence"):
        steps.append("VOI LUT")
        shown, bits = _looked_up(np.rint(values), dataset.VOILUTSequence[0], dataset)
        return np.asarray(shown / np.float32(2**bits - 1), np.float32)
    low, high = float(values[counted].min()), float(values[counted].max())
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction"))
    function = function if function in {"LINEAR_EXACT", "SIGMOID"} else "LINEAR"
    if "WindowCenter" in dataset or "WindowWidth" in dataset:
        if center is not None and width is not None:
            wide_enough = width >= 1 if function == "LINEAR" else width > 0
            if wide_enough and center - width / 2 < high and center + width / 2 > low:
                steps.append(f"window {center:g}/{width:g} ({function})")
                return window(values, center=center, width=width, function=function)
        doubts.append(
            f"{_window(dataset)} makes no sense for grey values {low:g}..{high:g}: their full range was used instead."
        )
    elif not np.issubdtype(values.dtype, np.floating) and low >= 0 and dataset.BitsStored <= 8:
        return np.asarray(values / np.float32(2**dataset.BitsStored - 1), np.float32)
    steps.append(f"full range {low:g}..{high:g}")
    return np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1).astype(np.float32)


def window(values: NDArray[Any], *, center: float, width: float, function: str) -> Grey:
    """Map values to 0..1 as the VOI LUT Function says (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: Modality values, of any shape.
        center: Window Center (0028,1050).
        width: Window Width (0028,1051): at least 1 for LINEAR, above 0 for the others.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``; LINEAR stands in for any other.

    Returns:
        float32 in 0..1.
    """
    values = values.astype(np.float32)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -60, 60))), np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _looked_up(values: NDArray[Any], item: Dataset, dataset: Dataset) -> tuple[NDArray[Any], int]:
    """Apply a modality or VOI LUT (PS3.3 C.11.1.1.1, C.11.2.1.1); give the result and the bits of its entries."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
        data = np.frombuffer(data, np.uint8 if len(data) <= entries + 1 and bits == 8 else (">u2" if big else "<u2"))
    table = np.asarray(data, np.float32)[:entries]
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)], bits


def _contradiction(dataset: Dataset, stored: NDArray[Any], shown: Grey, appearance: str) -> list[str]:
    """Say if dense parts, where little radiation arrived, are shown dark (PS3.3 C.8.11.3.1.2).

    The sign takes no part in showing a picture, and a device may write the wrong one: what the picture itself looks
    like stands beside it.

    Args:
        dataset: The elements.
        stored: Stored values, [n].
        shown: What became of them, [n].
        appearance: What `looks` says.
    """
    sign = _number(dataset, "PixelIntensityRelationshipSign")
    if sign not in {1, -1}:
        return []
    first, second = stored[::16].astype(np.float32), shown[::16]
    along = np.mean((first - first.mean()) * (second - second.mean()))  # above 0: the higher stored, the brighter
    warning = (
        f"PixelIntensityRelationshipSign (0028,1041) {sign:g} contradicts PhotometricInterpretation (0028,0004)"
        f" {dataset.PhotometricInterpretation}: it makes bone black. The picture itself looks {appearance}."
    )
    return [warning] if sign * along > 0 else []


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Give the first value of a number, None where it is missing, unreadable or not finite."""
    try:
        value = dataset.get(keyword)
        number = float(value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _window(dataset: Dataset) -> str:
    """Name the window with its tags and values."""
    center, width = (_number(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    stated = ["(unreadable)" if value is None else f"{value:g}" for value in (center, width)]
    return f"WindowCenter (0028,1050) {stated[0]} with WindowWidth (0028,1051) {stated[1]}"
