"""Axes, lines and bands on a logarithmic chart, drawn with OpenCV: the runtime has no plotting library.

Everything is drawn at twice its size and reduced, which makes OpenCV's stroke letters and slanted lines smooth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SCALE = 2
SOFT = (110, 110, 110)
_INK, _GRID, _PAPER = (40, 40, 40), (228, 228, 228), (255, 255, 255)
# Okabe and Ito (2008), told apart by the colour-blind; BGR.
_COLOURS: tuple[Colour, ...] = ((178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230))
_MARKERS = ("circle", "square", "triangle", "diamond")
_LEGEND_LINE, _LEGEND_WIDTH = 24, 0.5  # pixels; share of a panel
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Series:
    """One line with its band.

    Attributes:
        name: What the legend says.
        x: Ascending, above 0.
        middle: The line, above 0.
        top: Where the band that begins at the line ends.
    """

    name: str
    x: tuple[float, ...]
    middle: tuple[float, ...]
    top: tuple[float, ...]


class Canvas:
    """A white picture in pixels of its final size.

    Args:
        width: Of the final picture.
        height: Of the final picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self._picture = np.full((height * _SCALE, width * _SCALE, 3), _PAPER, np.uint8)

    def finish(self) -> Picture:
        """Give the picture at its final size: BGR uint8 [height, width, 3]."""
        return np.asarray(cv2.resize(self._picture, None, fx=1 / _SCALE, fy=1 / _SCALE, interpolation=cv2.INTER_AREA))

    def text(
        self, words: str, x: float, y: float, *, size: float = 14, colour: Colour = _INK, anchor: float = 0.0
    ) -> None:
        """Write ASCII on a base line; anchor 0 starts at x, 0.5 is centred on it, 1 ends there."""
        left = x - anchor * self.width_of(words, size)
        weight = 3 if size >= 18 else 2
        cv2.putText(self._picture, words, _at(left, y), _FONT, size * _SCALE / 30, colour, weight, cv2.LINE_AA)

    @staticmethod
    def width_of(words: str, size: float = 14) -> float:
        """Measure a text in pixels of the final size."""
        return float(cv2.getTextSize(words, _FONT, size * _SCALE / 30, 2)[0][0]) / _SCALE

    def upright(self, words: str, x: float, y: float, *, size: float = 14, colour: Colour = _INK) -> None:
        """Write a text that reads from bottom to top, centred on (x, y)."""
        length = math.ceil(self.width_of(words, size)) + 8
        strip = Canvas(length, round(2 * size))
        strip.text(words, 4, 1.4 * size, size=size, colour=colour)
        turned = cv2.rotate(strip._picture, cv2.ROTATE_90_COUNTERCLOCKWISE)
        top, left = round(_SCALE * (y - length / 2)), round(_SCALE * (x - size))
        area = self._picture[top : top + turned.shape[0], left : left + turned.shape[1]]
        np.minimum(area, turned[: area.shape[0], : area.shape[1]], out=area)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 1.0) -> None:
        """Draw a line through points."""
        corners = np.array([_at(*point) for point in points], np.int32)
        cv2.polylines(self._picture, [corners], False, colour, max(1, round(width * _SCALE)), cv2.LINE_AA)

    def area(self, points: Sequence[tuple[float, float]], colour: Colour, opacity: float) -> None:
        """Fill a polygon with a transparent colour."""
        covered = self._picture.copy()
        cv2.fillPoly(covered, [np.array([_at(*point) for point in points], np.int32)], colour, cv2.LINE_AA)
        self._picture = np.asarray(cv2.addWeighted(covered, opacity, self._picture, 1 - opacity, 0), np.uint8)

    def marker(self, kind: str, x: float, y: float, colour: Colour, size: float = 5.0) -> None:
        """Draw a filled ``circle``, ``square``, ``triangle`` or ``diamond`` with a white edge."""
        for radius, fill in ((size + 1.5, _PAPER), (size, colour)):
            if kind == "circle":
                cv2.circle(self._picture, _at(x, y), round(radius * _SCALE), fill, cv2.FILLED, cv2.LINE_AA)
                continue
            corners, turn = {"square": (4, 45), "diamond": (4, 0), "triangle": (3, -90)}[kind]
            angles = [math.radians(turn + 360 * corner / corners) for corner in range(corners)]
            points = [_at(x + 1.25 * radius * math.cos(a), y + 1.25 * radius * math.sin(a)) for a in angles]
            cv2.fillPoly(self._picture, [np.array(points, np.int32)], fill, cv2.LINE_AA)


@dataclass(frozen=True)
class Panel:
    """Where logarithmic axes lie on a canvas.

    Attributes:
        box: Left, top, right, bottom, in pixels.
        x: Smallest and largest value on the horizontal axis.
        y: Likewise on the vertical one.
    """

    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Give the pixel of a pair of values."""
        left, top, right, bottom = self.box
        across = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        up = math.log(y / self.y[0]) / math.log(self.y[1] / self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def draw(self, canvas: Canvas, series: Sequence[Series], *, title: str, ticks: Sequence[float], label: str) -> None:
        """Draw axes with their ticks, then bands, lines and the legend.

        Args:
            canvas: What to draw on.
            series: At most as many as there are colours tell apart; more repeat them with other markers.
            title: Above the panel.
            ticks: Values on the horizontal axis.
            label: Below it.
        """
        left, top, right, bottom = self.box
        canvas.text(title, left, top - 12, size=16)
        for value in round_values(*self.y):
            _, y = self.place(self.x[0], value)
            canvas.line([(left, y), (right, y)], _GRID)
            canvas.text(f"{value:g}", left - 8, y + 5, colour=SOFT, anchor=1.0)
        labelled = -math.inf
        for value in ticks:
            x, _ = self.place(value, self.y[0])
            canvas.line([(x, bottom), (x, bottom + 6)], SOFT)
            if x - labelled > 34:  # else two numbers would run into each other
                canvas.text(f"{value:g}", x, bottom + 24, colour=SOFT, anchor=0.5)
                labelled = x
        canvas.line([(left, top), (left, bottom), (right, bottom)], SOFT)
        canvas.text(label, (left + right) / 2, bottom + 48, anchor=0.5)
        for number, each in enumerate(series):
            line = [self.place(*pair) for pair in zip(each.x, each.middle, strict=True)]
            edge = [self.place(*pair) for pair in zip(each.x, each.top, strict=True)]
            canvas.area([*line, *reversed(edge)], _COLOURS[number % len(_COLOURS)], 0.22)
        for number, each in enumerate(series):
            colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
            line = [self.place(*pair) for pair in zip(each.x, each.middle, strict=True)]
            canvas.line(line, colour, 2)
            for point in line:
                canvas.marker(marker, *point, colour)
            y = top + 18 + _LEGEND_LINE * number
            canvas.line([(left + 14, y), (left + 50, y)], colour, 2)
            canvas.marker(marker, left + 32, y, colour)
            canvas.text(each.name, left + 60, y + 5)


def round_values(low: float, high: float) -> list[float]:
    """List 1, 2, 5, 10, 20 … within a range, and values in between where those would be fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values: list[float] = []
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = [mantissa * 10.0**power for power in powers for mantissa in mantissas]
        values = [value for value in values if low <= value <= high]
        if len(values) >= 3:
            break
    return values


def room_for_legend(series: Sequence[Series], x: tuple[float, float], low: float, height: float) -> float:
    """Give the largest value that the vertical axis needs for the legend to lie above what is drawn under it.

    Args:
        series: What is drawn.
        x: Smallest and largest value on the horizontal axis.
        low: Smallest value on the vertical one.
        height: Of the panel, in pixels.
    """
    share = 1 - (_LEGEND_LINE * len(series) + 16) / height
    reach = x[0] * (x[1] / x[0]) ** _LEGEND_WIDTH
    below = [top for each in series for at, top in zip(each.x, each.top, strict=True) if at <= reach]
    return low * (max(below, default=low) / low) ** (1 / max(share, 0.3))


def _at(x: float, y: float) -> tuple[int, int]:
    return round(x * _SCALE), round(y * _SCALE)
