"""Drawing on radiographs: overlays, colour bars, captions, and the files of them. Colours are BGR, uint8."""

import zlib
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.files import STAMP
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.text import plain

BgrImage = NDArray[np.uint8]

# Bluish green and red of unlike lightness; cons are hatched as well, so that no colour has to be told from another.
PRO = (115, 158, 0)
CON = (30, 50, 215)
LUNG = (235, 235, 235)
_INK, _AMBER, _PAPER = (235, 235, 235), (90, 190, 255), (24, 24, 24)
HEAT_OPACITY, _TINT_OPACITY = 0.45, 0.55
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# From OpenCV 5 on a font of two weights is drawn, and the thickness only says which; before, it is in pixels.
_TWO_WEIGHTS = int(cv2.__version__.split(".", maxsplit=1)[0]) >= 5
_NARROWEST, _LOWEST = 32, 10  # of a figure and of a colour bar with its ends, in heights of a line of text
_IHDR_END = 33  # of every PNG: 8 bytes of signature, then a first chunk of 25


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture with its title and, where colours mean something, its colour bar.

    Attributes:
        picture: uint8 [height, width, 3].
        title: One line above it.
        bar: Colours from top to bottom, uint8 [n, 3], or None.
        ends: What the top and the bottom of the bar mean.
    """

    picture: BgrImage
    title: str
    bar: BgrImage | None = None
    ends: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Line:
    """A line of a caption; it is broken where it is wider than the figure.

    Attributes:
        text: What it says. Characters beyond ASCII are escaped, because not every font of OpenCV has them.
        kind: ``headline`` (large and bold), ``plain`` or ``warning`` (amber).
    """

    text: str
    kind: Literal["headline", "plain", "warning"] = "plain"


def grey_picture(radiograph: Radiograph, *, smallest: int, largest: int) -> tuple[BgrImage, float]:
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
    return cv2.cvtColor(grey_levels(pixels, radiograph.maximum), cv2.COLOR_GRAY2BGR), factor


def grey_levels(pixels: NDArray[Any], maximum: float) -> NDArray[np.uint8]:
    """Give values of 0 to ``maximum`` as uint8 levels of 0 to 255, of the same shape."""
    if pixels.dtype == np.uint8 and maximum == 255:
        return pixels
    return np.clip(np.rint(pixels.astype(np.float32) * (255.0 / maximum)), 0, 255).astype(np.uint8)


def heat(picture: BgrImage, values: NDArray[np.float32]) -> BgrImage:
    """Lay a map in 0..1 over a picture: viridis, ever more opaque, so that 0 leaves the radiograph untouched."""
    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return _blend(picture, colours, HEAT_OPACITY * values)


def heat_bar() -> BgrImage:
    """The colours of `heat` over mid grey, 1 at the top."""
    values = np.linspace(1, 0, 256, dtype=np.float32)[:, None]
    return heat(np.full((256, 1, 3), 128, np.uint8), values)[:, 0]


def tint(picture: BgrImage, values: NDArray[np.float32]) -> BgrImage:
    """Lay signed values in -1..1 over a picture: pros plain green, cons hatched red, opacity their size."""
    height, width = values.shape
    period = max(6, max(height, width) // 60)  # wide enough to be seen where a viewer shrinks the picture
    diagonals = np.add.outer(np.arange(height, dtype=np.uint16), np.arange(width, dtype=np.uint16))
    stripe = diagonals % np.uint16(period) < max(2, period // 3)
    opacity = np.abs(values) * np.where((values < 0) & ~stripe, 0.35, 1.0).astype(np.float32)
    colours = np.where((values < 0)[:, :, None], np.array(CON, np.uint8), np.array(PRO, np.uint8))
    return _blend(picture, colours, _TINT_OPACITY * opacity)


def tint_bar() -> BgrImage:
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
    picture: BgrImage, region: NDArray[np.bool_], colour: tuple[int, int, int], *, thin: bool = False
) -> BgrImage:
    """Draw the border of a region with a dark edge, so that it shows on black and on white.

    The thin line runs along the border; the other one runs inside it, so that regions side by side keep their colours.
    """
    drawn = picture.copy()
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width, edge = (ceil(_scale(picture) / 400), 2) if thin else (2 * ceil(_scale(picture) / 300), 4)
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), width + edge, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, colour, width, cv2.LINE_AA)
    return drawn if thin else np.asarray(cv2.copyTo(drawn, region.astype(np.uint8), picture.copy()), np.uint8)


def cell(picture: BgrImage, rows: int, columns: int) -> BgrImage:
    """Draw the size of one cell of a map of so many rows and columns into the lower left corner."""
    height, width = picture.shape[:2]
    region = np.zeros((height, width), bool)
    down, across, margin = max(3, round(height / rows)), max(3, round(width / columns)), ceil(_scale(picture) / 80)
    region[height - margin - down : height - margin, margin : margin + across] = True
    return outline(picture, region, LUNG, thin=True)


def number(picture: BgrImage, region: NDArray[np.bool_], text: str) -> BgrImage:
    """Write a short text on a dark disc at the innermost point of a region."""
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)
    _, _, _, (x, y) = cv2.minMaxLoc(depth)
    drawn, size = picture.copy(), max(14, _scale(picture) / 36)
    width, height = _extent(text, size)
    cv2.circle(drawn, (x - 1, y - 1), round(0.8 * size), _PAPER, cv2.FILLED, cv2.LINE_AA)
    _write(drawn, text, (round(x - 1 - width / 2), round(y - 1 + height / 2)), size)
    return drawn


def compose(panels: list[Panel], caption: list[Line]) -> BgrImage:
    """Set panels of equal size side by side, wide ones one below the other, with a caption below.

    The figure is never narrower than its titles need, nor lower than its colour bars need, whatever the panels' shape.

    Args:
        panels: At least one.
        caption: Lines from top to bottom.
    """
    height, width = panels[0].picture.shape[:2]
    stacked = len(panels) > 1 and width > 2 * height
    down, across = (len(panels), 1) if stacked else (1, len(panels))
    # Height of a line of text: legible where a screen shows the whole figure.
    unit = max(16, across * width // 90, down * height // 60)
    frames = [_framed(panel, unit) for panel in panels]
    size = max(len(frame) for frame in frames), max(frame.shape[1] for frame in frames)
    body = (
        np.vstack([_padded(each, each.shape[0], size[1]) for each in frames])
        if stacked
        else np.hstack([_padded(each, size[0], each.shape[1]) for each in frames])
    )
    body = _padded(body, body.shape[0], max(body.shape[1], _NARROWEST * unit))
    return np.vstack([body, _caption_strip(caption, body.shape[1], unit)])


def to_png(picture: BgrImage) -> bytes:
    """Encode a picture, quick rather than small; `STAMP` is the text of ``Software`` in it (PNG, section 11.3.3)."""
    data = bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
    text = b"tEXtSoftware\0" + STAMP
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    return data[:_IHDR_END] + chunk + data[_IHDR_END:]


def to_jpeg(picture: BgrImage, *, quality: int = 85) -> bytes:
    """Encode a picture; `STAMP` is the comment in it (ITU-T T.81, B.2.4.5).

    Args:
        picture: uint8 [height, width, 3], or grey [height, width].
        quality: 1 to 100.
    """
    data = bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
    return data[:2] + b"\xff\xfe" + (len(STAMP) + 2).to_bytes(2, "big") + STAMP + data[2:]


def _scale(picture: BgrImage) -> int:
    """Give the length that lines and numbers are drawn in proportion to: the longer side, less where it is a strip."""
    return min(max(picture.shape[:2]), 4 * min(picture.shape[:2]))


def _caption_strip(caption: list[Line], width: int, unit: int) -> BgrImage:
    lines = [
        (part, line.kind)
        for line in caption
        for part in _wrap(plain(line.text), width - unit, _line_size(line.kind, unit), bold=line.kind == "headline")
    ]
    strip = np.full((round(unit * (1.6 * len(lines) + 1.0)), width, 3), _PAPER, np.uint8)
    for index, (text, kind) in enumerate(lines):
        origin = unit // 2, round(unit * (1.6 * index + 1.5))
        ink = _AMBER if kind == "warning" else _INK
        _write(strip, text, origin, _line_size(kind, unit), bold=kind == "headline", ink=ink)
    return strip


def _line_size(kind: str, unit: int) -> float:
    return unit * (1.15 if kind == "headline" else 0.95)


def _framed(panel: Panel, unit: int) -> BgrImage:
    """Set a panel on paper, its title above, its colour bar to the right."""
    height, width = panel.picture.shape[:2]
    title = plain(panel.title)
    bar = np.zeros((0, 1, 3), np.uint8) if panel.bar is None else panel.bar[:, None]
    bar_height, bar_width = (0, 0) if panel.bar is None else (max(height, _LOWEST * unit), 4 * unit)
    inner = max(width + bar_width, _extent(title, unit)[0])
    frame = np.full((max(height, bar_height) + 2 * unit, inner + unit, 3), _PAPER, np.uint8)
    frame[2 * unit : 2 * unit + height, unit // 2 : unit // 2 + width] = panel.picture
    _write(frame, title, (unit // 2, round(1.4 * unit)), unit)
    if bar.size:
        left, top, length = width + unit, 4 * unit, bar_height - 4 * unit
        frame[top : top + length, left : left + unit] = cv2.resize(bar, (unit, length), interpolation=cv2.INTER_LINEAR)
        for text, y in zip(panel.ends, (top - unit // 2, top + length + round(1.1 * unit)), strict=True):
            _write(frame, text, (left, y), 0.8 * unit)
    return frame


def _padded(picture: BgrImage, height: int, width: int) -> BgrImage:
    """Put paper to the right of a picture and below it."""
    below, right = height - picture.shape[0], width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=_PAPER)


def _blend(picture: BgrImage, colours: BgrImage, opacity: NDArray[Any]) -> BgrImage:
    opacity = opacity[:, :, None]
    return np.asarray(np.rint(picture * (1 - opacity) + colours * opacity), np.uint8)


def _write(
    picture: BgrImage,
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
    """Break a text between words, and a word that is too long for a line, such as a file's name, anywhere."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if _extent(longer, size, bold=bold)[0] <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and _extent(lines[-1] + character, size, bold=bold)[0] > width:
                lines.append("")
            lines[-1] += character
    return lines
