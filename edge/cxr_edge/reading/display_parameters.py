r"""The elements that say how stored values are meant to be shown (PS3.3 sections C.11.1, C.11.2), and which way up.

Patient Orientation (0020,0020; C.7.6.1.1.1): its first value names the direction of the rows, from left to right, the
second that of the columns, from top to bottom. A frontal radiograph stands upright as ``L\F``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.data_set import DataSet, name
from cxr_edge.reading.image_header import ImageHeader
from cxr_edge.reading.lookup_table import LookupTable, Palette, depth_warning, read_lookup_table, read_palette

_Kind = TypeVar("_Kind", bound=np.generic)
_ORIENTATION = name("PatientOrientation")
_WHAT = {
    "LF": "",
    "RF": "mirrored left to right",
    "LH": "mirrored top to bottom",
    "RH": "turned by 180 degrees",
    "FL": "mirrored about its main diagonal",
    "FR": "turned by 90 degrees clockwise",
    "HL": "turned by 90 degrees counter-clockwise",
    "HR": "mirrored about its other diagonal",
}


@dataclass(frozen=True)
class Orientation:
    r"""How a radiograph lies.

    Attributes:
        directions: The main direction of rows and columns, such as ``LF``; empty where the file states none that can be
            read or is no frontal view.
        stated: The value of the element, such as ``R\F``; empty likewise.
        warning: Why it was not turned, None where there is no reason to say so.
    """

    directions: str = ""
    stated: str = ""
    warning: str | None = None

    @property
    def step(self) -> str | None:
        """What `upright` does, None if nothing."""
        what = _WHAT.get(self.directions)
        return f"{_ORIENTATION} {self.stated}: {what}" if what else None


def read_orientation(dataset: DataSet) -> Orientation:
    """Read the Patient Orientation.

    Of a value of several letters, which stand in the order of their share, the first is the main direction.

    Args:
        dataset: The elements.

    Returns:
        Directions that `upright` can use, or a warning where they are none of a frontal view.
    """
    values = [value.upper() for value in dataset.texts("PatientOrientation")]
    if not values:
        return Orientation()
    if len(values) != 2 or not all(re.fullmatch("[LRAPHF]{1,3}", value) for value in values):
        return Orientation(
            warning=f"{_ORIENTATION} cannot be read: whether the image is mirrored or turned is unknown."
        )
    stated = "\\".join(values)
    directions = values[0][0] + values[1][0]
    if directions in _WHAT:
        return Orientation(directions, stated)
    if {"A", "P"} & {*directions}:
        return Orientation(warning=f"{_ORIENTATION} is {stated}: this is no frontal view. It was not turned.")
    return Orientation(warning=f"{_ORIENTATION} is {stated}, which contradicts itself. It was not turned.")


def upright(pixels: NDArray[_Kind], directions: str) -> NDArray[_Kind]:
    r"""Turn and mirror an image to ``L\F``.

    Args:
        pixels: [height, width], or [height, width, 3].
        directions: The main directions of its rows and columns; empty leaves it as it is.

    Returns:
        The same values, as [width, height] where rows and columns changed places.
    """
    turned: NDArray[Any] = pixels
    if directions[:1] in {"F", "H"}:
        turned, directions = turned.swapaxes(0, 1), directions[::-1]
    if directions[:1] == "R":
        turned = turned[:, ::-1]
    if directions[1:] == "H":
        turned = turned[::-1]
    return np.ascontiguousarray(turned) if turned is not pixels else pixels


_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope (0028,1053), which is not 0, and Rescale Intercept (0028,1052)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Window:
    """The first window that a file states.

    Attributes:
        center: Window Center (0028,1050); None where it is missing or no finite number.
        width: Window Width (0028,1051); likewise.
        function: VOI LUT Function (0028,1056): ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    center: float | None
    width: float | None
    function: str

    def __str__(self) -> str:
        """Name the window with its tags and values."""
        stated = ["(unreadable)" if value is None else f"{value:g}" for value in (self.center, self.width)]
        return f"{name('WindowCenter')} {stated[0]} with {name('WindowWidth')} {stated[1]}"


@dataclass(frozen=True)
class Padding:
    """The stored values, both ends included, that are no part of the image (PS3.3 section C.7.5.1.1.2)."""

    low: float
    high: float


@dataclass(frozen=True)
class DisplayParameters:
    """How to show one image.

    Attributes:
        photometric: Photometric Interpretation, as in the header.
        stored_bits: Bits Stored.
        palette: Of PALETTE COLOR, None of others.
        rescale: None where there is none, or one that changes nothing.
        modality_lut: Modality LUT; it counts more than the rescale.
        window: None where the file states none.
        voi_lut: VOI LUT; it counts more than the window.
        padding: None where the file states none.
        sign: Pixel Intensity Relationship Sign (0028,1041): 1, -1, or None.
        orientation: How the image lies.
        warnings: What did not make sense, one sentence each.
    """

    photometric: str
    stored_bits: int
    palette: Palette | None = None
    rescale: Rescale | None = None
    modality_lut: LookupTable | None = None
    window: Window | None = None
    voi_lut: LookupTable | None = None
    padding: Padding | None = None
    sign: int | None = None
    orientation: Orientation = field(default_factory=Orientation)
    warnings: tuple[str, ...] = ()


def of_single_frame(dataset: DataSet) -> DataSet:
    """Lay the functional groups of a single frame over the elements of the file (PS3.3 section C.7.6.16).

    The groups of the frame count more than the shared ones.
    """
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.items(groups)[:1]:
            for macro in (
                "PixelValueTransformationSequence",
                "FrameVOILUTSequence",
                "PatientOrientationInFrameSequence",
                "FrameAnatomySequence",
            ):
                for item in group.items(macro)[:1]:
                    dataset = dataset.merged(item)
    return dataset


def read_display_parameters(dataset: DataSet, header: ImageHeader) -> DisplayParameters:
    """Read how an image is meant to be shown.

    Args:
        dataset: The elements, those of the functional groups among them.
        header: Its Image Pixel module.

    Returns:
        The parameters; an element that makes no sense is left out with a warning.
    """
    orientation = read_orientation(dataset)
    modality_lut, voi_lut = (read_lookup_table(dataset, f"{kind}LUTSequence") for kind in ("Modality", "VOI"))
    slope = dataset.number("RescaleSlope")
    sign = dataset.number("PixelIntensityRelationshipSign")
    warnings = [
        None if modality_lut is None else depth_warning(modality_lut, "ModalityLUTSequence"),
        None if voi_lut is None else depth_warning(voi_lut, "VOILUTSequence"),
        _slope_warning(dataset, slope),
        orientation.warning,
        _intent_warning(dataset),
        _shape_warning(dataset, header.photometric),
    ]
    return DisplayParameters(
        header.photometric,
        header.stored,
        read_palette(dataset, signed=header.signed) if header.photometric == "PALETTE COLOR" else None,
        _rescale(slope, dataset.number("RescaleIntercept")),
        modality_lut,
        _window(dataset),
        voi_lut,
        _padding(dataset, header),
        int(sign) if sign in {1, -1} else None,
        orientation,
        tuple(warning for warning in warnings if warning),
    )


def _rescale(slope: float | None, intercept: float | None) -> Rescale | None:
    if not slope or intercept is None or (slope, intercept) == (1, 0):
        return None
    return Rescale(slope, intercept)


def _slope_warning(dataset: DataSet, slope: float | None) -> str | None:
    if slope is None and dataset.texts("RescaleSlope"):
        return f"{name('RescaleSlope')} is no finite number: stored values were not rescaled."
    if slope == 0:
        return f"{name('RescaleSlope')} is 0, which is no slope: stored values were not rescaled."
    return None


def _intent_warning(dataset: DataSet) -> str | None:
    intent = " ".join(dataset.texts("PresentationIntentType")[:1]).upper().split()
    if intent != ["FOR", "PROCESSING"]:
        return None
    return f"{name('PresentationIntentType')} is FOR PROCESSING: these pixels are not meant to be looked at."


def _shape_warning(dataset: DataSet, photometric: str) -> str | None:
    """Say if two elements contradict each other about what is white (PS3.3 section C.8.11.3.1.2)."""
    shape = "".join(dataset.texts("PresentationLUTShape")[:1]).upper()
    if (photometric, shape) not in {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}:
        return None
    where = name("PhotometricInterpretation")
    return f"{name('PresentationLUTShape')} is {shape}, which contradicts {where} {photometric}: this was followed."


def _window(dataset: DataSet) -> Window | None:
    if not dataset.texts("WindowCenter") and not dataset.texts("WindowWidth"):
        return None
    function = "".join(dataset.texts("VOILUTFunction")[:1]).upper()
    return Window(
        dataset.number("WindowCenter"), dataset.number("WindowWidth"), function if function in _FUNCTIONS else "LINEAR"
    )


def _padding(dataset: DataSet, header: ImageHeader) -> Padding | None:
    """Read the padding; a value of the wrong sign is the one that has the same bits (PS3.5 section 6.2)."""
    first, last = (dataset.number(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if first is None:
        return None
    ends = sorted(_signed_as(value, header) for value in (first, first if last is None else last))
    return Padding(ends[0], ends[1])


def _signed_as(value: float, header: ImageHeader) -> float:
    if header.signed and value >= 2 ** (header.allocated - 1):
        return value - (2**16 if header.allocated <= 16 and value >= 2**15 else 2**header.allocated)
    return value % 2**header.allocated if not header.signed and value < 0 else value
