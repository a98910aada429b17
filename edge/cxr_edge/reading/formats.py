"""What a file is, by its first bytes, and what no radiograph exceeds: checked before memory is spent on it."""

from enum import Enum

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
