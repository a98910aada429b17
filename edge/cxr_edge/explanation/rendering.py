"""Drawing on radiographs: overlays, colour bars, captions. Colours are BGR, uint8."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.radiograph import Radiograph

Picture = NDArray[np.uint8]

# Bluish green and red of unlike lightness; cons are hatched as well, so that no colour has to be told from another.
PRO = (115, 158, 0)
CON = (30, 50, 215)
LUNG = (235, 235, 235)
_INK, _AMBER, _PAPER = (235, 235, 235), (90, 190, 255), (24, 24, 24)
_HEAT_OPACITY, _TINT_OPACITY = 0.45, 0.55
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# From OpenCV 5 on a font of two weights is drawn, and the thickness only says which; before, it is in pixels.
_TWO_WEIGHTS = int(cv2.__version__.split(".", maxsplit=1)[0]) >= 5


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture with its title and, where colours mean something, its colour bar.

    Attributes:
        picture: uint8 [height, width, 3].
        title: ASCII.
        bar: Colours from top to bottom, uint8 [n, 3], or None.
        ends: What the top and the bottom of the bar mean.
    """

    picture: Picture
    title: str
    bar: Picture | None = None
    ends: tuple[str, str] = ("", "")


def grey_picture(radiograph: Radiograph, *, smallest: int, largest: int) -> tuple[Picture, float]:
    """Show a radiograph in its own aspect ratio, enlarged or reduced only as far as the limits on its longer side ask.

    Returns:
        uint8 [height, width, 3] and the factor: 1.0 where every pixel is as it was.
    """
    height, width = radiograph.pixels.shape
    factor = min(max(1.0, smallest / max(height, width)), largest / max(height, width))
    pixels = radiograph.pixels
    if factor != 1.0:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    grey = np.clip(np.rint(pixels.astype(np.float32) * (255.0 / radiograph.maximum)), 0, 255).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), factor


def heat(picture: Picture, values: NDArray[np.float32]) -> Picture:
    """Lay a map in 0..1 over a picture: viridis, ever more opaque, so that 0 leaves the radiograph untouched."""
    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return _blend(picture, colours, _HEAT_OPACITY * values)


def heat_bar() -> Picture:
    """The colours of `heat` over mid grey, 1 at the top."""
    values = np.linspace(1, 0, 256, dtype=np.float32)[:, None]
    return heat(np.full((256, 1, 3), 128, np.uint8), values)[:, 0]


def tint(picture: Picture, values: NDArray[np.float32]) -> Picture:
    """Lay signed values in -1..1 over a picture: pros plain green, cons hatched red, opacity their size."""
    height, width = values.shape
    period = max(6, max(height, width) // 60)  # wide enough to be seen where a viewer shrinks the picture
    stripe = (np.add.outer(np.arange(height), np.arange(width)) % period) < max(2, period // 3)
    opacity = np.abs(values) * np.where((values < 0) & ~stripe, 0.35, 1.0).astype(np.float32)
    colours = np.where((values < 0)[:, :, None], np.array(CON, np.uint8), np.array(PRO, np.uint8))
    return _blend(picture, colours, _TINT_OPACITY * opacity)


def tint_bar() -> Picture:
    """The colours of `tint` over mid grey, +1 at the top."""
    values = np.linspace(1, -1, 256, dtype=np.float32)[:, None]
    colours = np.where(values[:, :, None] < 0, np.array(CON, np.uint8), np.array(PRO, np.uint8))
    return _blend(np.full((256, 1, 3), 128, np.uint8), colours, _TINT_OPACITY * np.abs(values))[:, 0]


def enlarge_labels(labels: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Spread region numbers over a picture, borders smoothed: a median of numbers is always one of them."""
    kind = np.uint8 if labels.max() < 256 else np.uint16
    large = cv2.resize(labels.astype(kind), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    if kind is np.uint8:
        step = max(height / labels.shape[0], width / labels.shape[1])
        large = cv2.medianBlur(large, 2 * min(60, round(1.5 * step)) + 1)
    return large.astype(np.int32)


def enlarge_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Spread a mask over a picture, its border smoothed."""
    return np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) > 0.5)


def outline(
    picture: Picture, region: NDArray[np.bool_], colour: tuple[int, int, int], *, thin: bool = False
) -> Picture:
    """Draw the border of a region, dark-edged so that it shows on black and on white."""
    drawn = picture.copy()
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, max(picture.shape) // 800) if thin else max(2, max(picture.shape) // 400)
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, colour, thickness, cv2.LINE_AA)
    return drawn


def number(picture: Picture, region: NDArray[np.bool_], text: str) -> Picture:
    """Write a short text on a dark disc at the innermost point of a region."""
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)
    _, _, _, (x, y) = cv2.minMaxLoc(depth)
    drawn, size = picture.copy(), max(picture.shape) / 45
    width, height = _extent(text, size)
    cv2.circle(drawn, (x - 1, y - 1), round(0.8 * size), _PAPER, cv2.FILLED, cv2.LINE_AA)
    _write(drawn, text, (round(x - 1 - width / 2), round(y - 1 + height / 2)), size)
    return drawn


def compose(panels: list[Panel], caption: list[str]) -> Picture:
    """Set panels of equal height side by side, titles above, a caption strip below.

    Args:
        panels: At least one.
        caption: Lines of ASCII, the first emphasised, those that begin with ``Warning`` in amber; broken where they
            are wider than the figure.
    """
    unit = max(16, max(panels[0].picture.shape[:2]) // 40)  # height of a line of text
    row = np.hstack([_framed(panel, unit) for panel in panels])
    lines = [
        (part, index == 0, _AMBER if line.startswith("Warning") else _INK)
        for index, line in enumerate(caption)
        for part in _wrap(line, row.shape[1] - unit, unit * (1.15 if index == 0 else 0.9), bold=index == 0)
    ]
    strip = np.full((round(unit * (1.6 * len(lines) + 1.0)), row.shape[1], 3), _PAPER, np.uint8)
    for index, (line, first, ink) in enumerate(lines):
        origin = unit // 2, round(unit * (1.6 * index + 1.5))
        _write(strip, line, origin, unit * (1.15 if first else 0.9), bold=first, ink=ink)
    return np.vstack([row, strip])


def to_png(picture: Picture) -> bytes:
    """Encode a picture; quick rather than small."""
    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def _framed(panel: Panel, unit: int) -> Picture:
    height, width = panel.picture.shape[:2]
    bar_width = 0 if panel.bar is None else round(unit * 4)
    frame = np.full((height + 2 * unit, width + bar_width + unit, 3), _PAPER, np.uint8)
    frame[2 * unit :, unit // 2 : unit // 2 + width] = panel.picture
    _write(frame, panel.title, (unit // 2, round(1.4 * unit)), unit)
    if panel.bar is not None:
        left, top, length = width + unit, 2 * unit + 2 * unit, height - 4 * unit
        colours = cv2.resize(panel.bar[:, None], (unit, length), interpolation=cv2.INTER_LINEAR)
        frame[top : top + length, left : left + unit] = colours
        for text, y in zip(panel.ends, (top - unit // 2, top + length + round(1.1 * unit)), strict=True):
            _write(frame, text, (left, y), 0.8 * unit)
    return frame


def _blend(picture: Picture, colours: Picture, opacity: NDArray[Any]) -> Picture:
    opacity = opacity[:, :, None]
    return np.asarray(np.rint(picture * (1 - opacity) + colours * opacity), np.uint8)


def _write(
    picture: Picture,
    text: str,
    origin: tuple[int, int],
    size: float,
    *,
    bold: bool = False,
    ink: tuple[int, int, int] = _INK,
) -> None:
    cv2.putText(picture, text, origin, _FONT, size / 32, ink, _thickness(size, bold=bold), cv2.LINE_AA)


def _thickness(size: float, *, bold: bool) -> int:
    return 1 + bold if _TWO_WEIGHTS else max(1, round(size / 16 * (1.4 if bold else 0.9)))


def _extent(text: str, size: float, *, bold: bool = False) -> tuple[int, int]:
    """Give the width and height that `_write` needs."""
    (width, height), _ = cv2.getTextSize(text, _FONT, size / 32, _thickness(size, bold=bold))
    return width, height


def _wrap(text: str, width: int, size: float, *, bold: bool) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _extent(longer, size, bold=bold)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
