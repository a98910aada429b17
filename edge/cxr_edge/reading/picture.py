"""What a file is, by its first bytes, what no radiograph exceeds, and a picture file that was read.

Sizes are checked before memory is spent on pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
from numpy.typing import NDArray

from cxr_edge.errors import InputError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30


def check_size(width: int, height: int, frames: int) -> None:
    """Refuse what is no single radiograph.

    Args:
        width: Columns.
        height: Rows.
        frames: Images in the file.

    Raises:
        InputError: No pixels, several images, or more than 100 megapixels.
    """
    if width <= 0 or height <= 0 or frames < 1:
        raise InputError(f"{width}x{height} pixels in {frames} images: nothing to look at", kind="no-pixels")
    if frames > 1:
        raise InputError(f"{frames} images in one file, expected one", cure="split the file", kind="multi-frame")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels",
            cure="reduce the image",
            kind="too-large",
        )


class Format(Enum):
    """A format that is known by its first bytes; the value is its name in messages."""

    DICOM = "DICOM"
    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"
    BMP = "BMP"
    GIF = "GIF"
    WEBP = "WebP"
    PDF = "PDF"
    ZIP = "ZIP"
    JPEG_2000 = "JPEG 2000"


_READ = frozenset({Format.DICOM, Format.JPEG, Format.PNG, Format.TIFF, Format.BMP})
SUFFIXES = frozenset({".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"})
"""The names of radiographs in folders; what has another is looked into."""
HEAD = 256
"""Bytes from the beginning of a file that tell its format, and whether this program drew it."""
_BMP_HEADERS = frozenset(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
_MAGIC = {
    b"\xff\xd8\xff": Format.JPEG,
    b"\x89PNG\r\n\x1a\n": Format.PNG,
    b"II*\0": Format.TIFF,
    b"MM\0*": Format.TIFF,
    b"BM": Format.BMP,
    b"II+\0": Format.TIFF,
    b"MM\0+": Format.TIFF,
    b"GIF8": Format.GIF,
    b"%PDF": Format.PDF,
    b"PK\x03\x04": Format.ZIP,
    b"\0\0\0\x0cjP": Format.JPEG_2000,
    b"\xff\x4f\xff\x51": Format.JPEG_2000,
}


def format_of(head: bytes) -> Format | None:
    """Name the format of a file.

    Args:
        head: Its first bytes, `HEAD` or more.

    Returns:
        The format, None where the bytes are none that is known.
    """
    if _is_dicom(head):  # before all others: the DICOM preamble may hold a TIFF header
        return Format.DICOM
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    return next((found for magic, found in _MAGIC.items() if head.startswith(magic)), None)


def holds_radiograph(head: bytes) -> bool:
    """Say whether a file of any name is one to read; the other formats are known so that a message can name them.

    Args:
        head: Its first bytes, `HEAD` or more.
    """
    found = format_of(head)
    # Text may begin with BM as well: for once, the size of the header that follows must be one that exists.
    return found in _READ and (found is not Format.BMP or head[14:18] in _BMP_HEADERS)


def _is_dicom(head: bytes) -> bool:
    """Know DICOM by its prefix (PS3.10 section 7.1) or by a plausible first element where that is missing."""
    if head[128:132] == b"DICM":
        return True
    if head[:2] not in {b"\x02\x00", b"\x08\x00", b"\x00\x08"} or len(head) < 16:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or (head[0] != 0 and int.from_bytes(head[4:8], "little") <= 64)


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
