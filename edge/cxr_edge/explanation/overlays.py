"""What a page shows of a radiograph: the picture, a small one, and transparent ones that it lays over them.

A layer covers the whole radiograph, whatever its own size: the input was squashed, and the page stretches it back.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation import rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw_lime
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.lime import SuperpixelExplanation
from cxr_edge.explanation.lungs import LungOutline
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.output import (
    FINE_LAYER,
    HEAT_LAYER,
    HEAT_MAP,
    LIME_LAYER,
    LUNGS_LAYER,
    RADIOGRAPH,
    SHAP_LAYER,
    THUMBNAIL,
)

_SMALL, _LARGE = 256, 1280  # longer sides
_HEAT_SIDE = 224  # a map of 7 x 7 cells has no more detail
_DRAWN_SIDE = 1024  # lines and numbers stay sharp where a screen shows the whole radiograph

BgraImage = NDArray[np.uint8]


def page_pictures(
    radiograph: Radiograph, saliency: SaliencyMap | None = None, *, large: bool = True
) -> dict[str, bytes]:
    """Draw the radiograph for a page and its thumbnail, with and without the heat map.

    Args:
        radiograph: What to show.
        saliency: Its heat map.
        large: Whether it is wanted larger than a thumbnail.

    Returns:
        File name → JPEG; the radiograph is never enlarged.
    """
    small = _reduced(radiograph, largest=_SMALL)
    pictures = {THUMBNAIL: rendering.to_jpeg(small)}
    if large:
        pictures[RADIOGRAPH] = rendering.to_jpeg(_reduced(radiograph, largest=_LARGE), quality=92)
    if saliency is not None:
        coloured = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
        pictures[HEAT_MAP] = rendering.to_jpeg(rendering.heat(coloured, saliency.upsample(*small.shape)))
    return pictures


def _reduced(radiograph: Radiograph, *, largest: int) -> NDArray[np.uint8]:
    """Give it as uint8 [height, width], the longer side at most ``largest`` pixels: halved, then linearly in between.

    OpenCV averages blocks of 2x2 pixels in a third of the time that blocks of any other size take. An odd last row or
    column is left out.
    """
    pixels = radiograph.pixels
    while max(pixels.shape) >= 2 * largest and min(pixels.shape) >= 2:
        height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
        pixels = cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    if (factor := largest / max(pixels.shape)) < 1:
        height, width = (max(1, round(side * factor)) for side in pixels.shape)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return rendering.grey_levels(pixels, radiograph.maximum)


def layers(explanation: Explanation) -> dict[str, bytes]:
    """Draw what there is of an explanation.

    Returns:
        File name → PNG with transparency: the heat map, LIME, SHAP, and the outline of the lungs where they were found.
    """
    radiograph, drawn = explanation.answer.radiograph, {}
    if explanation.saliency is not None:
        name = FINE_LAYER if explanation.saliency.method == "layercam" else HEAT_LAYER
        drawn[name] = rendering.to_png(heat_layer(explanation.saliency))
    for name, explained in ((LIME_LAYER, explanation.lime), (SHAP_LAYER, explanation.shap)):
        if explained is not None:
            drawn[name] = rendering.to_png(superpixel_layer(explained, *_size(radiograph)))
    if explanation.evidence is not None and not explanation.evidence.outline.implausible:
        drawn[LUNGS_LAYER] = rendering.to_png(lungs_layer(explanation.evidence.outline, *_size(radiograph)))
    return drawn


def pointed_at(explanation: Explanation) -> dict[str, object]:
    """Say what lies under a pointer, for a page.

    Returns:
        Name of a layer's file → ``width`` and ``height`` of a grid over the radiograph; ``cells``, the number of the
        region at each place, row by row; ``values``, of each region its value and, of superpixels, the ends of its 95 %
        interval; ``unit`` and ``target``.
    """
    found: dict[str, object] = {}
    if (saliency := explanation.saliency) is not None:
        height, width = saliency.raw.shape
        name = FINE_LAYER if saliency.method == "layercam" else HEAT_LAYER
        shares = [[float(value)] for value in saliency.normalised.ravel()]
        cells = list(range(height * width))
        found[name] = _grid(width, height, cells, shares, unit="peak", target=saliency.target)
    for name, explained in ((LIME_LAYER, explanation.lime), (SHAP_LAYER, explanation.shap)):
        if explained is not None:
            numbers = explained.superpixels.labels[1::2, 1::2]  # to two pixels of the input
            values = np.column_stack([explained.coefficients, explained.intervals]).tolist()
            height, width = numbers.shape
            cells = numbers.ravel().tolist()
            found[name] = _grid(width, height, cells, values, unit=explained.score, target=explained.target)
    return found


def _grid(
    width: int, height: int, cells: list[int], values: list[list[float]], *, unit: str, target: str
) -> dict[str, object]:
    return {"width": width, "height": height, "cells": cells, "values": values, "unit": unit, "target": target}


def heat_layer(saliency: SaliencyMap) -> BgraImage:
    """Draw a saliency map: viridis, the more opaque the more it speaks for its label, as `rendering.heat`.

    Returns:
        BGRA uint8 [224, 224, 4].
    """
    values = saliency.upsample(_HEAT_SIDE, _HEAT_SIDE)
    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return _with_opacity(colours, rendering.HEAT_OPACITY * values)


def superpixel_layer(explained: SuperpixelExplanation, height: int, width: int) -> BgraImage:
    """Draw LIME or Shapley values as the figure does: green for, hatched red against, leaders outlined and numbered.

    Args:
        explained: The explanation.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        BGRA uint8 [height, width, 4].
    """
    labels = rendering.enlarge_labels(explained.superpixels.labels, height, width)
    pictures = (np.full((height, width, 3), grey, np.uint8) for grey in (0, 255))
    dark, bright = (draw_lime(each, explained, labels) for each in pictures)
    return _from_black_and_white(dark, bright)


def lungs_layer(outline: LungOutline, height: int, width: int) -> BgraImage:
    """Draw the border of the lungs, white with a dark edge.

    Args:
        outline: The lungs.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        BGRA uint8 [height, width, 4].
    """
    factor = max(height, width) / max(outline.mask.shape)
    soft = cv2.resize(outline.mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    lungs = cv2.GaussianBlur(soft, (0, 0), factor) > 0.5  # steps of the input's pixels are none of the lungs
    contours, _ = cv2.findContours(lungs.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    line, edge = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    cv2.drawContours(line, contours, -1, 255, 2, cv2.LINE_AA)
    cv2.drawContours(edge, contours, -1, 160, 5, cv2.LINE_AA)
    return np.dstack([line, line, line, np.maximum(line, edge)])


def _size(radiograph: Radiograph) -> tuple[int, int]:
    height, width = radiograph.pixels.shape
    factor = _DRAWN_SIDE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _with_opacity(colours: NDArray[np.uint8], opacity: NDArray[np.float32]) -> BgraImage:
    return np.dstack([colours, np.rint(255 * opacity).astype(np.uint8)])


def _from_black_and_white(dark: NDArray[np.uint8], bright: NDArray[np.uint8]) -> BgraImage:
    """Give the transparent picture that turns black into ``dark`` and white into ``bright``.

    What the blend leaves of white where black has nothing is the transparency; the colour is what black shows of it.
    """
    through = (bright.astype(np.float32) - dark).mean(2) / 255
    opacity = np.clip(1 - through, 0, 1)
    colours = np.clip(dark / np.maximum(opacity, 1 / 255)[:, :, None], 0, 255)
    return _with_opacity(np.rint(colours).astype(np.uint8), opacity.astype(np.float32))
