"""Stored DICOM values → grey levels, one pure function a stage.

The stages in their order: orientation (`display_parameters`), modality (PS3.3 section C.11.1), VOI (C.11.2),
presentation (C.7.6.3.1.2), padding (C.7.5.1.1.2), and the contract that what leaves here is finite and within 0..1.
`display` puts them together and states what was done.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import name
from cxr_edge.reading.display_parameters import DisplayParameters, Padding, Rescale, Window, upright
from cxr_edge.reading.radiograph import exposure_warnings, looks

Grey = NDArray[np.float32]
_LARGEST = 1e30  # float32 ends at 3e38; no unit of measurement comes near


@dataclass(frozen=True, eq=False)
class Display:
    """An image as it is meant to be shown.

    Attributes:
        pixels: float32 [height, width], finite, 0..1; black is 0.
        steps: What was done, in order.
        warnings: What speaks against the file or the result, one sentence each.
    """

    pixels: Grey
    steps: tuple[str, ...]
    warnings: tuple[str, ...]


def display(stored: NDArray[Any], parameters: DisplayParameters) -> Display:
    """Show stored values as their file says.

    Args:
        stored: [height, width] grey, or [height, width, 3] in RGB order.
        parameters: How to show them.

    Returns:
        Grey levels. An element that makes no sense gives way, with a warning that names its tag.

    Raises:
        InputError: Rescaling leads to values that are not finite.
    """
    lying = upright(stored, parameters.orientation.directions)
    in_color = lying.ndim == 3 or parameters.palette is not None
    shown = _color(lying, parameters) if in_color else _monochrome(lying, parameters)
    pixels, warnings = within_contract(shown.pixels), list(shown.warnings)
    if pixels is not shown.pixels:
        warnings.append("Grey values beyond black and white were clipped: they exceed Bits Stored (0028,0101).")
    if pixels.min() == pixels.max():
        warnings.append("Every pixel has the same value: this is no radiograph.")
    turned = parameters.orientation.step
    return Display(pixels, (turned, *shown.steps) if turned else shown.steps, (*parameters.warnings, *warnings))


def rescaled(values: NDArray[Any], rescale: Rescale) -> NDArray[np.float64]:
    """Turn stored values into modality values by slope and intercept (PS3.3 section C.11.1.1.2).

    Args:
        values: Stored values, of any shape, not empty.
        rescale: Slope and intercept.

    Returns:
        float64, of the same shape.

    Raises:
        InputError: The result is not finite, or beyond what any unit needs.
    """
    ends = [float(end) * rescale.slope + rescale.intercept for end in (values.min(), values.max())]
    if not all(abs(end) < _LARGEST for end in ends):
        stated = f"{name('RescaleSlope')} {rescale.slope:g} with {name('RescaleIntercept')} {rescale.intercept:g}"
        problem = f"{stated} makes values that are not finite"
        raise InputError(problem, kind="damaged", cure="correct both elements or export the image again")
    return values * rescale.slope + rescale.intercept


def windowed(values: NDArray[Any], *, center: float, width: float, function: str) -> Grey:
    """Map modality values to 0..1 as the VOI LUT Function says (PS3.3 sections C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: Modality values, of any shape.
        center: Window Center (0028,1050).
        width: Window Width (0028,1051): at least 1 for LINEAR, above 0 for the others.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``; LINEAR stands in for any other.

    Returns:
        float32 in 0..1, of the same shape.
    """
    values = values.astype(np.float32)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -60, 60))), np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return np.clip((values - center) / width + 0.5, 0, 1)


def makes_sense(window: Window, low: float, high: float) -> bool:
    """Say whether a window can be applied and contains one of the values (PS3.3 section C.11.2.1.2).

    Args:
        window: As the file states it.
        low: The lowest modality value.
        high: The highest modality value.
    """
    if window.center is None or window.width is None or max(abs(window.center), abs(window.width)) > _LARGEST:
        return False
    wide_enough = window.width >= 1 if window.function == "LINEAR" else window.width > 0
    return wide_enough and window.center - window.width / 2 < high and window.center + window.width / 2 > low


def scaled_to_range(values: NDArray[Any], low: float, high: float) -> Grey:
    """Map low..high to 0..1, where no VOI transformation is stated.

    Args:
        values: Of any shape.
        low: What becomes black.
        high: What becomes white.

    Returns:
        float32 in 0..1, of the same shape.
    """
    # float32 would round what was rescaled by far more than what its range is.
    real = np.float64 if values.dtype == np.float64 else np.float32
    shifted = values - real(low) if low else values
    return np.clip(shifted / real((high - low) or 1), 0, 1).astype(np.float32, copy=False)


def inverted(pixels: Grey) -> Grey:
    """Turn grey levels of MONOCHROME1, where the lowest value is white, around (PS3.3 section C.7.6.3.1.2).

    Args:
        pixels: 0..1.

    Returns:
        0..1.
    """
    return np.float32(1) - pixels


def luma(pixels: NDArray[Any], *, white: float) -> Grey:
    """Turn color into grey by its luma (ITU-R BT.601).

    Args:
        pixels: [height, width, 3] in RGB order, 0..white.
        white: The white level.

    Returns:
        float32 [height, width] in 0..1.
    """
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY) / np.float32(white))


def is_padding(stored: NDArray[Any], padding: Padding | None) -> NDArray[np.bool_] | None:
    """Find the pixels that are no part of the image (PS3.3 section C.7.5.1.1.2).

    Args:
        stored: Stored values [height, width].
        padding: As the file states it.

    Returns:
        bool [height, width]; None where there is no padding, or nothing else.
    """
    if padding is None:
        return None
    found = (stored >= padding.low) & (stored <= padding.high)
    return found if found.any() and not found.all() else None


def within_contract(pixels: Grey) -> Grey:
    """Make sure that grey levels are finite and within 0..1.

    Args:
        pixels: [height, width], not empty.

    Returns:
        The same array if it is, else a clipped one.

    Raises:
        InputError: Some are not finite.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("its grey values are not finite", kind="damaged", cure="export the image again")
    return pixels if low >= 0 and high <= 1 else np.clip(pixels, 0, 1)


def _color(stored: NDArray[Any], parameters: DisplayParameters) -> Display:
    palette = parameters.palette
    if palette is not None:
        stored = palette.apply(stored)
    grey = luma(stored, white=palette.white if palette else 2**parameters.stored_bits - 1)
    return Display(grey, ("color to grey",), exposure_warnings(grey, 1.0))


def _monochrome(stored: NDArray[Any], parameters: DisplayParameters) -> Display:
    padding = is_padding(stored, parameters.padding)
    counted = None if padding is None else ~padding
    steps: list[str] = []
    warnings: list[str] = []
    values = stored
    if parameters.modality_lut is not None:
        values = parameters.modality_lut.starting(*_range(stored, counted)).apply(stored)
        steps.append("modality LUT")
    elif parameters.rescale is not None:
        values = rescaled(stored, parameters.rescale)
        steps.append(f"rescale slope {parameters.rescale.slope:g}, intercept {parameters.rescale.intercept:g}")
    low, high = _range(values, counted)
    window = None if parameters.voi_lut is not None else parameters.window
    if window is not None and not makes_sense(window, low, high):
        problem = f"{window} makes no sense for grey values {low:g}..{high:g}"
        warnings.append(f"{problem}: their full range was used instead.")
    if parameters.voi_lut is not None:
        entries = parameters.voi_lut.starting(low, high).apply(values)
        pixels = scaled_to_range(entries, 0, 2**parameters.voi_lut.bits - 1)
        steps.append("VOI LUT")
    elif window is not None and not warnings:
        pixels = windowed(values, center=window.center or 0.0, width=window.width or 0.0, function=window.function)
        steps.append(f"window {window.center:g}/{window.width:g} ({window.function})")
    elif window is None and values is stored and low >= 0 and parameters.stored_bits <= 8:
        pixels = scaled_to_range(values, 0, 2**parameters.stored_bits - 1)
    else:
        pixels = scaled_to_range(values, low, high)
        steps.append(f"full range {low:g}..{high:g}")
    if parameters.photometric == "MONOCHROME1":
        pixels = inverted(pixels)
        steps.append("MONOCHROME1 inverted")
    applied = None if window is None or warnings else str(window)
    warnings.extend(exposure_warnings(pixels, 1.0, counted=counted, window=applied))
    warnings.extend(_contradiction(parameters, _of(stored, counted), _of(pixels, counted), looks(pixels, 1.0)))
    if padding is not None:
        steps.append("pixel padding to black")
        pixels[padding] = 0
    return Display(pixels, tuple(steps), tuple(warnings))


def _of(values: NDArray[Any], counted: NDArray[np.bool_] | None) -> NDArray[Any]:
    return values if counted is None else values[counted]


def _range(values: NDArray[Any], counted: NDArray[np.bool_] | None) -> tuple[float, float]:
    values = _of(values, counted)
    return float(values.min()), float(values.max())


def _contradiction(
    parameters: DisplayParameters, stored: NDArray[Any], shown: Grey, appearance: str
) -> tuple[str, ...]:
    """Say if dense parts, where little radiation arrived, are shown dark (PS3.3 C.8.11.3.1.2).

    The sign takes no part in showing a picture, and a device may write the wrong one: what the picture itself looks
    like stands beside it.

    Args:
        parameters: Of the image.
        stored: Stored values.
        shown: What became of them, of the same shape.
        appearance: What `looks` says.
    """
    if parameters.sign is None:
        return ()
    first, second = stored.ravel()[::16].astype(np.float32), shown.ravel()[::16]
    along = np.mean((first - first.mean()) * (second - second.mean()))  # above 0: the higher stored, the brighter
    if parameters.sign * along <= 0:
        return ()
    warning = (
        f"PixelIntensityRelationshipSign (0028,1041) {parameters.sign} contradicts PhotometricInterpretation"
        f" (0028,0004) {parameters.photometric}: it makes bone black. The picture itself looks {appearance}."
    )
    return (warning,)
