"""A picture file that was read, whatever its format."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
from numpy.typing import NDArray

from cxr_edge.errors import InputError

AGAIN = "fetch the file again"
"""The cure of what is cut off or damaged."""
SAVE = "save the image as 8- or 16-bit PNG"
"""The cure of what is valid and not read here."""
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.transpose(cv2.rotate(pixels, cv2.ROTATE_180)),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright grey pixels with the facts of their file.

    Attributes:
        pixels: uint8 or uint16 [height, width], turned upright.
        maximum: The white level.
        format: ``JPEG``, ``PNG``, ``TIFF`` or ``BMP``.
        width: Columns as stored.
        height: Rows as stored.
        bits: Bits a sample as stored (for a palette, of its indices).
        steps: What was done to the pixels, in order.
        warnings: What the file's damage leaves in doubt, one sentence each.
    """

    pixels: NDArray[Any]
    maximum: float
    format: str
    width: int
    height: int
    bits: int
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def exif_orientation(exif: bytes) -> int:
    """Find the orientation in an EXIF block (EXIF 2.3, tag 274 of the first directory).

    Only this entry is looked at, so that no other can cost memory, and a broken block says nothing: the pixels are
    there all the same.

    Args:
        exif: The block from its TIFF header on.

    Returns:
        1 (upright, or not stated) to 8.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for at in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, at)
            if tag == 274:
                (orientation,) = struct.unpack_from(order + {3: "H", 4: "I"}[kind], exif, at + 8)
                return orientation if 1 <= orientation <= 8 else 1
    except (struct.error, KeyError):
        return 1
    return 1


def turned_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror as an EXIF orientation asks for.

    Args:
        pixels: As stored, [height, width].
        orientation: 1 to 8.
    """
    return _TURNS[orientation](pixels) if orientation != 1 else pixels


def steps_of(*, color: bool, orientation: int) -> tuple[str, ...]:
    """State what is done to most pictures."""
    turned = (f"EXIF orientation {orientation}",) if orientation != 1 else ()
    return (("color to grey",) if color else ()) + turned


def truncated(name: str) -> InputError:
    """Make the error of a file that ends too early."""
    return InputError(f"the {name} data are cut off", cure=AGAIN, kind="truncated")


def damaged(name: str, what: str) -> InputError:
    """Make the error of a file whose content cannot be right."""
    return InputError(f"the {name} data are damaged ({what})", cure=AGAIN, kind="damaged")
