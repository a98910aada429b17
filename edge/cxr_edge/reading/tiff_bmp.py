"""TIFF and BMP, read by Pillow: the pages of a TIFF, and the one that is the radiograph.

Pillow is imported only here, because its import costs more than a prediction has to spare.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2, TiffImageFile

from cxr_edge.errors import InputError
from cxr_edge.reading.picture import MAX_BYTES, SAVE, Picture, check_size, damaged, steps_of, truncated, turned_upright

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_DIRECTORIES = 100
_RAW, _OLD_JPEG, _JPEG = 1, 6, 7
_DEFLATE = frozenset({8, 32946})
_WITHOUT_CHECKSUM = frozenset({5, 32773, 34925, 50000})  # LZW, PackBits, LZMA and Zstandard
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_ZEROS = bytes(32)
# Size, samples, strips or tiles, their compression, palette, JPEG tables and YCbCr subsampling.
_NEEDED = (256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 317, 320, 322, 323, 324, 325, 338, 339, 347, 530)


def read_tiff(data: bytes) -> Picture:
    """Read the one page of a TIFF file that is no thumbnail: grey, palette or colour, 1 to 16 bits.

    White-is-zero is inverted, an alpha channel is left aside, 16-bit colour is read at 8 bits.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off or damaged, holds several pages, is too large, or its samples or its compression are
            not read.
    """
    if data[:4] == b"MM\0+":  # Pillow takes it for a small one
        raise InputError("a BigTIFF in big-endian order, which is not read here", cure=SAVE, kind="unsupported")
    directories = _directories(data)
    # Thumbnails and masks are no pages (TIFF 6.0: NewSubfileType bits 0 and 2, SubfileType 2).
    pages = [each for each in directories if not _fact(each, 254, 0) & 5 and _fact(each, 255, 1) != 2] or directories[
        :1
    ]
    page = pages[0]
    width, height, orientation = _fact(page, 256, 0), _fact(page, 257, 0), _fact(page, 274, 1)
    bits, photometric = _fact(page, 258, 1), _fact(page, 262, -1)
    check_size(width, height, len(pages))
    _check_kind(page)
    _check_data(page, data, bits)
    pixels, steps = _grey(_decoded(page, data), deep=bits > 8)
    if pixels.shape != (height, width):
        raise damaged("TIFF", f"{width}x{height} pixels are stated and {pixels.shape[1]}x{pixels.shape[0]} found")
    maximum = 255 if pixels.dtype == np.uint8 else 2**bits - 1
    if photometric == _WHITE_IS_ZERO:
        pixels = maximum - pixels if pixels.dtype == np.uint16 else pixels  # Pillow inverts the shallow ones only
        steps = ("white-is-zero inverted", *steps)
    orientation = orientation if 1 <= orientation <= 8 else 1
    steps += steps_of(color=False, orientation=orientation)
    return Picture(turned_upright(pixels, orientation), float(maximum), "TIFF", width, height, bits, steps)


def _directories(data: bytes) -> list[ImageFileDirectory_v2]:
    """Read the chain of directories; one that leads out of the file, or back, ends it."""
    big = 43 in data[2:4]
    header, file = data[: 16 if big else 8], BytesIO(data)
    directories: list[ImageFileDirectory_v2] = []
    seen: set[int] = set()
    try:
        place = ImageFileDirectory_v2(header).next
        while place not in seen and len(seen) < _MOST_DIRECTORIES and _lies_inside(data, place, big=big):
            seen.add(place)
            directory = ImageFileDirectory_v2(header)
            file.seek(place)
            directory.load(file)
            directories.append(directory)
            place = directory.next
    except (struct.error, OverflowError) as error:
        raise truncated("TIFF") from error
    except Warning as error:  # where the host makes errors of Pillow's warnings
        raise damaged("TIFF", "its directory") from error
    if not directories:
        raise truncated("TIFF")
    return directories


def _lies_inside(data: bytes, place: int, *, big: bool) -> bool:
    """Say whether a whole directory lies at a place (TIFF 6.0 section 2; BigTIFF)."""
    order = ">" if data[:2] == b"MM" else "<"
    count, entry, following = ("Q", 20, 8) if big else ("H", 12, 4)
    first = place + struct.calcsize(count)
    return (
        place > 0
        and first <= len(data)
        and (first + entry * struct.unpack_from(order + count, data, place)[0] + following <= len(data))
    )


def _fact(page: ImageFileDirectory_v2, tag: int, default: int) -> int:
    """Give a whole number of a directory, of several the first."""
    value = page.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(value, int):
        raise damaged("TIFF", f"its tag {tag}")
    return value


def _check_kind(page: ImageFileDirectory_v2) -> None:
    """Refuse samples and compressions that are not read, by name."""
    bits, samples, photometric = _fact(page, 258, 1), _fact(page, 277, 1), _fact(page, 262, -1)
    compression = _fact(page, 259, _RAW)
    problem = None
    if photometric == -1:
        raise damaged("TIFF", "no PhotometricInterpretation (262)")
    if bits > 16 or _fact(page, 339, 1) != 1:
        problem = f"{bits}-bit TIFF samples, signed, floating-point or too deep, which have no white level"
    elif photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR}:
        problem = f"TIFF PhotometricInterpretation {photometric}, which is neither grey, RGB, YCbCr nor a palette"
    elif samples > 1 and bits > 8 and _fact(page, 284, 1) == 2:
        problem = f"{bits}-bit TIFF samples in separate planes (PlanarConfiguration 2)"
    elif compression not in COMPRESSION_INFO or compression == _OLD_JPEG:
        problem = f"TIFF compression {compression}, which is not supported"
    if problem:
        raise InputError(problem, cure=SAVE, kind="unsupported")


def _check_data(page: ImageFileDirectory_v2, data: bytes, bits: int) -> None:
    """Compare where the pixels lie with what there is, and look for holes that their decoder does not notice."""
    offsets, sizes = (page.get(tag) or page.get(other) or () for tag, other in ((273, 324), (279, 325)))
    if not offsets or not all(isinstance(each, int) for each in (*offsets, *sizes)):
        raise damaged("TIFF", "no pixels")
    places = list(zip(offsets, sizes, strict=False))
    if any(start + size > len(data) for start, size in places) or max(offsets) >= len(data):
        raise truncated("TIFF")
    compression = _fact(page, 259, _RAW)
    row = (_fact(page, 256, 0) * _fact(page, 277, 1) * bits + 7) // 8
    if compression == _RAW and sizes and sum(sizes) < row * _fact(page, 257, 0):
        raise damaged("TIFF", f"{sum(sizes)} of {row * _fact(page, 257, 0)} bytes of pixels")
    strips = [data[start : start + size] for start, size in places] if compression != _RAW else []
    try:
        for strip in strips:
            if compression == _JPEG:  # each is a JPEG without its tables (TIFF Technical Note 2)
                simplejpeg.decode_jpeg(page.get(347, b"\xff\xd8\xff\xd9")[:-2] + strip[2:], "GRAY")
            elif compression in _DEFLATE:  # libtiff writes what it notices to the error stream: it gets no such strip
                zlib.decompressobj().decompress(strip, MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise damaged("TIFF", f"its compressed pixels: {error}") from error
    # No encoder writes so many zeros: it has a shorter code for them.
    if compression in _WITHOUT_CHECKSUM and any(_ZEROS in strip for strip in strips):
        raise damaged("TIFF", "zeros inside its compressed pixels")


def _decoded(page: ImageFileDirectory_v2, data: bytes) -> Image:
    """Decode one page: of a file that has no other, and no tag but those that its pixels need.

    So nothing else in the file matters, and libtiff has nothing to remark on the error stream. Nothing is turned.
    """
    order = ">" if data[:2] == b"MM" else "<"
    alone = data[:2] + struct.pack(order + "HI", 42, len(data)) + data[8:] + _directory(page, order, len(data))
    try:
        image = TiffImageFile(BytesIO(alone))
    except (SyntaxError, KeyError) as error:  # Pillow's words for samples that it has no mode for
        samples, bits, photometric = _fact(page, 277, 1), _fact(page, 258, 1), _fact(page, 262, -1)
        kind = f"{samples} samples of {bits} bits, PhotometricInterpretation {photometric}"
        raise InputError(f"a TIFF of {kind}, which is not supported", cure=SAVE, kind="unsupported") from error
    try:
        image.load()
    except (OSError, ValueError, TypeError, struct.error) as error:
        name = COMPRESSION_INFO[_fact(page, 259, _RAW)]
        raise damaged("TIFF", f"its pixels, compression {name}") from error
    return image


def _directory(page: ImageFileDirectory_v2, order: str, place: int) -> bytes:
    """Write a directory for a place in a file that holds what the pixels of a page need (TIFF 6.0 section 2)."""
    entries, values = b"", b""
    tags = [tag for tag in _NEEDED if tag in page]
    behind = place + 2 + 12 * len(tags) + 4
    for tag in tags:
        found = page[tag]
        if isinstance(found, bytes):
            kind, count, packed = 7, len(found), found
        else:
            numbers = found if isinstance(found, tuple) else (found,)
            if not all(isinstance(number, int) and 0 <= number < 2**32 for number in numbers):
                raise damaged("TIFF", f"its tag {tag}")
            kind = 3 if max(numbers, default=0) < 2**16 else 4
            count, packed = len(numbers), struct.pack(f"{order}{len(numbers)}{'HI'[kind - 3]}", *numbers)
        entries += struct.pack(order + "HHI", tag, kind, count)
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", behind + len(values))
            values += packed + bytes(len(packed) % 2)
    return struct.pack(order + "H", len(tags)) + entries + bytes(4) + values


def _grey(image: Image, *, deep: bool) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Give grey values, and what was done to them."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), ()
    if image.mode in {"1", "L"}:
        return np.asarray(image.convert("L")), ()
    if image.mode == "LA":
        return np.ascontiguousarray(np.asarray(image)[:, :, 0]), ()
    if image.mode not in {"P", "PA", "RGB", "RGBA", "RGBX"}:
        raise InputError(f"a TIFF of mode {image.mode}, which is not supported", cure=SAVE, kind="unsupported")
    color = np.asarray(image.convert("RGB") if image.mode in {"P", "PA"} else image)[:, :, :3]
    steps = (("16-bit color read at 8 bits",) if deep else ()) + ("color to grey",)
    return cv2.cvtColor(np.ascontiguousarray(color), cv2.COLOR_RGB2GRAY), steps


def read_bmp(data: bytes) -> Picture:
    """Read a BMP file; one whose palette is grey is grey.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off, damaged, too large or of a kind that is not read.
    """
    try:
        image = BmpImageFile(BytesIO(data))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if len(data) < 54:
            raise truncated("BMP") from error
        raise InputError("a BMP header that is damaged or not supported", cure=SAVE, kind="damaged") from error
    width, height = image.size
    check_size(width, height, 1)
    try:
        image.load()
    except OSError as error:
        raise truncated("BMP") from error
    except ValueError as error:
        raise damaged("BMP", "its palette") from error
    color = image.mode not in {"1", "L"}
    if color:
        pixels = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2GRAY)
    else:
        pixels = np.asarray(image.convert("L"))
    if pixels.shape != (height, width):
        raise damaged("BMP", "its size")

    bits = 1 if image.mode == "1" else 8
    return Picture(pixels, 255.0, "BMP", width, height, bits, steps_of(color=color, orientation=1))
