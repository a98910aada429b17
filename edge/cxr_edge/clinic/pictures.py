"""An explained answer as DICOM pictures: the figure as a Secondary Capture, the regions as lines over the radiograph.

The lines are a Grayscale Softcopy Presentation State (PS3.3 A.33.1): polylines in the pixels of the radiograph, which a
viewer draws over the radiograph itself, shown as this program saw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import cv2
import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, GrayscaleSoftcopyPresentationState, TextObject
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage
from pydicom.valuerep import DS

from cxr_edge.clinic.structured_report import stated_probability
from cxr_edge.clinic.study import ResultHeader, long_string
from cxr_edge.explanation import CAM_NAMES
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw_figure
from cxr_edge.reading.display_parameters import (
    DisplayParameters,
    of_single_frame,
    read_display_parameters,
    upright,
)
from cxr_edge.reading.image_header import ImageHeader, read_image_header
from cxr_edge.reading.lookup_table import LookupTable

Mask = NDArray[np.bool_]
_DRAWN_SIDE = 1024  # longer side of the masks whose borders become lines
_SPECK = 0.001  # share of the picture below which a part of a region gets no line
_OVER_HALF = 0.5  # of the peak of a saliency map: what lies within the line
_TOP_LEFT = (0.01, 0.01, 0.6, 0.06)  # left, top, right and bottom as shares of what is shown
_WHITE, _GREEN, _AMBER = (235, 235, 235), (0, 158, 115), (255, 190, 90)


def secondary_capture(header: ResultHeader, explanation: Explanation) -> Dataset:
    """Build the figure of an explanation as an RGB Secondary Capture Image (PS3.3 A.8.1).

    Args:
        header: The answer with its radiograph.
        explanation: Of that answer.
    """
    pixels = np.ascontiguousarray(draw_figure(explanation, archived=True)[:, :, ::-1])
    image = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=header.source.study,
        patient_orientation=("L", "F"),  # asked for by highdicom, and taken out below
        **header.arguments("OT", SecondaryCaptureImageStorage),
        content_date=header.source.date,
        content_time=header.source.time,
    )
    image.PatientOrientation = None  # of several panels and a text there is none
    _add_body_part(image, explanation)
    image.BurnedInAnnotation = "YES"
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = header.source.date, header.source.time
    image.ConversionType = "WSD"
    image.SourceImageSequence = [_reference(header)]
    image.ImageComments = "Research use only"
    if header.source.elements.texts("LossyImageCompression")[:1] == ["01"]:  # once lost, always lost (C.7.6.1.1.5)
        image.LossyImageCompression = "01"
    header.complete(image)
    return image


def presentation_state(header: ResultHeader, explanation: Explanation) -> Dataset | None:
    """Build lines around the leading regions and the lungs.

    Args:
        header: The answer with its radiograph.
        explanation: Of that answer.

    Returns:
        None where the radiograph is in color, or there is nothing to draw.
    """
    elements = of_single_frame(header.source.elements)
    image = read_image_header(elements)
    parameters = read_display_parameters(elements, image)
    if image.samples != 1 or image.photometric == "PALETTE COLOR":
        return None
    shown = _referenced(header, image)
    layers, annotations = [], []
    for order, (name, colour, regions) in enumerate(_layers(explanation), start=1):
        lines, texts = [], []
        for text, region in regions.items():
            found = list(_borders(region, image, parameters.orientation.directions))
            lines += [GraphicObject("POLYLINE", line, "PIXEL") for line in found]
            texts += [
                TextObject(text, "PIXEL", anchor_point=(*line[0],), anchor_point_visible=False) for line in found[:1]
            ]
        if lines:
            layers.append(GraphicLayer(name, order, display_color=CIELabColor.from_rgb(*colour)))
            annotations.append(GraphicAnnotation([shown], layers[-1], graphic_objects=lines, text_objects=texts))
    if not layers:
        return None
    layers.append(GraphicLayer("RESULT", len(layers) + 1))
    said = TextObject(_said(explanation), "DISPLAY", bounding_box=_TOP_LEFT, text_justification="LEFT")
    annotations.append(GraphicAnnotation([shown], layers[-1], text_objects=[said]))
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[shown],
        **header.arguments("PR", GrayscaleSoftcopyPresentationStateStorage),
        content_label="CXR_EDGE",
        content_description="Research use only: leading regions and lungs",
        graphic_layers=layers,
        graphic_annotations=annotations,
    )
    _add_body_part(state, explanation)
    state.PresentationCreationDate, state.PresentationCreationTime = header.source.date, header.source.time
    _show_as_seen(state, explanation, parameters, image)
    header.complete(state)
    return state


def _reference(header: ResultHeader) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.source.sop_class, header.source.sop_instance
    return item


def _add_body_part(result: Dataset, explanation: Explanation) -> None:
    """Say what was examined, where the radiograph does; Laterality is of type 2C, and a chest has none (C.7.3.1)."""
    if explanation.answer.radiograph.source.body_part == "CHEST":
        result.BodyPartExamined = "CHEST"
    else:
        result.Laterality = None


def _referenced(header: ResultHeader, image: ImageHeader) -> Dataset:
    """Give what highdicom asks of a radiograph; the patient comes later, with the character set."""
    shown = header.referenced()
    shown.Rows, shown.Columns, shown.SamplesPerPixel = image.rows, image.columns, image.samples
    return shown


def _said(explanation: Explanation) -> str:
    answer = explanation.answer
    probability = f"probability of {answer.bundle.manifest.positive} {stated_probability(answer)}"
    said = f"cxr-edge, research use only: {answer.label}, {probability}; lines for {explanation.target}"
    return long_string(said, longest=1024)


def _layers(explanation: Explanation) -> Iterator[tuple[str, tuple[int, int, int], dict[str, Mask]]]:
    """Give layers of lines from the lowest on: name, colour, and regions of the input by what is written at them."""
    evidence, saliency = explanation.evidence, explanation.saliency
    if evidence is not None and not evidence.outline.implausible:
        yield "LUNGS", _WHITE, {"lungs": evidence.outline.mask}
    for explained in filter(None, (explanation.lime, explanation.shap)):
        name, labels = explained.method.upper(), explained.superpixels.labels
        ranks = enumerate(explained.ranking[: explained.top], start=1)
        leaders = {f"{name} {rank}": index for rank, index in ranks if explained.coefficients[index] > 0}
        yield name, _GREEN, {text: labels == index for text, index in leaders.items()}
    if saliency is not None:
        half = saliency.upsample(*explanation.answer.prediction.input.shape) > _OVER_HALF
        yield "SALIENCY", _AMBER, {CAM_NAMES[saliency.method]: half}


def _borders(region: Mask, image: ImageHeader, orientation: str) -> Iterator[NDArray[np.float64]]:
    """Give the border of each part of a region as a closed line in the pixels that the file stores.

    Args:
        region: bool [height, width] of the upright input, which is the whole radiograph squashed to a square.
        image: Rows and columns of the file.
        orientation: The main directions of the rows and columns of the file.

    Yields:
        Columns and rows [n, 2], the last point the first again; a pixel's middle lies half a pixel from its corner,
        where coordinates begin (PS3.3 section C.10.5.1.2).
    """
    factor = _DRAWN_SIDE / max(image.rows, image.columns)
    height, width = max(1, round(image.rows * factor)), max(1, round(image.columns * factor))
    lying = np.ascontiguousarray(_as_stored(region, orientation), np.float32)
    large = cv2.resize(lying, (width, height), interpolation=cv2.INTER_LINEAR)
    # The input's pixels are steps of no region: a line that is shown over the radiograph is smooth.
    large = cv2.GaussianBlur(large, (0, 0), max(width / lying.shape[1], height / lying.shape[0]))
    contours, _ = cv2.findContours((large > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if cv2.contourArea(contour) >= _SPECK * large.size:
            points = cv2.approxPolyDP(contour, 1.0, closed=True)[:, 0].astype(np.float64)
            points = (points + 0.5) * (image.columns / width, image.rows / height)
            yield np.vstack([points, points[:1]]).round(1)


def _as_stored(region: Mask, orientation: str) -> Mask:
    """Turn a mask of the upright radiograph back to how the file lies."""
    turns, flipped = _spatial(orientation)
    return np.rot90(region[:, ::-1] if flipped else region, turns)


def _spatial(orientation: str) -> tuple[int, bool]:
    """Give the quarter turns clockwise, and whether to mirror left to right then, that turn a file upright."""
    sample = np.arange(6).reshape(2, 3)
    wanted = upright(sample, orientation)
    for turns in range(4):
        for flipped in (False, True):
            turned = np.rot90(sample, -turns)
            if np.array_equal(turned[:, ::-1] if flipped else turned, wanted):
                return turns, flipped
    raise AssertionError(orientation)  # `upright` turns and mirrors, and does nothing else


def _show_as_seen(state: Dataset, explanation: Explanation, parameters: DisplayParameters, image: ImageHeader) -> None:
    """Have the radiograph shown as this program saw it (PS3.3 sections C.11.1, C.11.8, C.11.6, C.10.6)."""
    if parameters.modality_lut is not None:
        item = _table(parameters.modality_lut, image, scaled=False)
        item.ModalityLUTType = "US"
        state.ModalityLUTSequence = [item]
    elif parameters.rescale is not None:
        state.RescaleIntercept = DS(parameters.rescale.intercept, auto_format=True)
        state.RescaleSlope = DS(parameters.rescale.slope, auto_format=True)
        state.RescaleType = "US"
    if grey := _grey(explanation.answer.radiograph.source.steps, parameters, image):
        state.SoftcopyVOILUTSequence = [grey]
    state.PresentationLUTShape = "INVERSE" if parameters.photometric == "MONOCHROME1" else "IDENTITY"
    (area,) = state.DisplayedAreaSelectionSequence
    area.pop("PixelOriginInterpretation")  # of whole slides alone
    turns, flipped = _spatial(parameters.orientation.directions)
    if turns or flipped:
        state.ImageRotation, state.ImageHorizontalFlip = 90 * turns, "Y" if flipped else "N"
        # The corners are those that are seen, named by the pixels of the file that lie there (section C.10.4).
        corners = [(1, 1), (image.columns, 1), (1, image.rows), (image.columns, image.rows)]
        seen = upright(np.arange(4).reshape(2, 2), parameters.orientation.directions)
        area.DisplayedAreaTopLeftHandCorner = list(corners[seen[0, 0]])
        area.DisplayedAreaBottomRightHandCorner = list(corners[seen[1, 1]])


def _grey(steps: tuple[str, ...], parameters: DisplayParameters, image: ImageHeader) -> Dataset | None:
    """Give the VOI transformation that was applied, which need not be what the file states; None for all values."""
    item = Dataset()
    if parameters.voi_lut is not None:
        item.VOILUTSequence = [_table(parameters.voi_lut, image, scaled=True)]
        return item
    for step in steps:
        if applied := re.fullmatch(r"window (\S+)/(\S+) \((\w+)\)", step):
            center, width, function = float(applied[1]), float(applied[2]), applied[3]
        elif applied := re.fullmatch(r"full range (\S+)\.\.(\S+)", step):
            low, high = float(applied[1]), float(applied[2])
            center, width, function = (low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT"
        else:
            continue
        item.WindowCenter, item.WindowWidth = DS(center, auto_format=True), DS(width, auto_format=True)
        if function != "LINEAR":
            item.VOILUTFunction = function
        return item
    return None


def _table(table: LookupTable, image: ImageHeader, *, scaled: bool) -> Dataset:
    """Write a look-up table; ``scaled`` where its entries are grey levels: the largest is white in 16 bits."""
    low = -(2 ** (image.stored - 1)) if image.signed else 0
    first = table.starting(low, low + 2**image.stored - 1).first
    entries = table.entries.astype(np.uint32)
    if scaled:
        entries = entries * 65535 // (2**table.bits - 1)
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, 16])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item
