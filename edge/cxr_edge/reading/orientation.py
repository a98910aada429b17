r"""Patient Orientation (0020,0020): turns a radiograph so that the patient's left is right and the feet are down.

PS3.3 section C.7.6.1.1.1: the first value names the direction of the rows, from left to right, the second that of the
columns, from top to bottom. A frontal radiograph stands upright as ``L\F``.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.data_set import DataSet
from cxr_edge.reading.elements import name

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
