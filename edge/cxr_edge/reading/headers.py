"""What a file says about itself before anything is decoded: format, size, depth, pages, completeness.

OpenCV reads only the first page of a file, fills in what a cut-off JPEG lacks without a word (depending on
its version) and allocates whatever size a header claims, so these are looked at first.
"""

import re
import struct
import zlib
from dataclasses import dataclass

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NEXT_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_OTHERS = {
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


@dataclass(frozen=True)
class Header:
    """The facts of an image file.

    Attributes:
        format: ``JPEG``, ``PNG``, ``TIFF`` or ``BMP``.
        width: Columns as stored.
        height: Rows as stored.
        bits: Bits a sample (for a palette, of its indices).
        color: Whether the file holds more than grey values.
        orientation: EXIF or TIFF orientation, 1 (upright) to 8.
        frames: Images in the file.
        complete: Whether the file reaches its own end.
        white_is_zero: Whether low values mean white (TIFF PhotometricInterpretation 0).
        sample_format: TIFF SampleFormat: 1 unsigned, 2 signed, 3 floating point.
    """

    format: str
    width: int
    height: int
    bits: int
    color: bool
    orientation: int = 1
    frames: int = 1
    complete: bool = True
    white_is_zero: bool = False
    sample_format: int = 1


def looks_like_dicom(data: bytes) -> bool:
    """Say whether the bytes are DICOM, by its prefix (PS3.10 section 7.1) or a plausible first element."""
    if data[128:132] == b"DICM":
        return True
    if data[:2] not in {b"\x02\x00", b"\x08\x00", b"\x00\x08"} or len(data) < 16:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or (data[0] != 0 and int.from_bytes(data[4:8], "little") <= 64)


def other_format(data: bytes) -> str | None:
    """Name a well-known format that is not read here, for a message that helps."""
    return next((name for magic, name in _OTHERS.items() if data.startswith(magic)), None)


def read_header(data: bytes) -> Header | None:
    """Read the facts of an image file without decoding it.

    Args:
        data: The whole file.

    Returns:
        The facts, or None if the bytes are neither JPEG, PNG, TIFF nor BMP.

    Raises:
        EOFError: The file ends, or is damaged, before it has stated its size.
    """
    for magic, parse in (
        (b"\xff\xd8\xff", _jpeg),
        (b"\x89PNG\r\n\x1a\n", _png),
        (b"II*\0", _tiff),
        (b"MM\0*", _tiff),
        (b"II+\0", _tiff),
        (b"MM\0+", _tiff),
        (b"BM", _bmp),
    ):
        if data.startswith(magic):
            try:
                return parse(data)
            except (struct.error, IndexError, KeyError, ValueError) as error:
                raise EOFError from error
    return None


def _jpeg(data: bytes) -> Header:
    width = height = bits = channels = 0
    orientation, position, complete = 1, 2, False
    while marker := _NEXT_JPEG_MARKER.search(data, position):
        position, code = marker.end(), data[marker.end() - 1]
        if code == 0xD9:
            complete = True
            break
        if code in {0x01, 0xD8}:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if code in _START_OF_FRAME:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 2)
        elif code == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 8 : position + length])
        position += length
    if not width:
        raise EOFError
    return Header("JPEG", width, height, bits, channels > 1, orientation, complete=complete)


def _png(data: bytes) -> Header:
    width, height, bits, color_type = struct.unpack_from(">IIBB", data, 16)
    orientation = frames = 1
    position, complete = 8, False
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            break
        if name == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : end])
        elif name == b"acTL":
            (frames,) = struct.unpack_from(">I", data, position + 8)
        elif name == b"IEND":
            complete = True
            break
        position = end + 4
    return Header("PNG", width, height, bits, color_type not in {0, 4}, orientation, frames, complete)


def _bmp(data: bytes) -> Header:
    offset, header_size = struct.unpack_from("<I4x", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    if header_size == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    row = (width * depth + 31) // 32 * 4
    complete = compression != 0 or offset + row * abs(height) <= len(data)
    return Header("BMP", width, abs(height), min(depth, 8), color=True, complete=complete)


def _tiff(data: bytes) -> Header:
    pages = _directories(data)
    # Thumbnails and other reduced copies (NewSubfileType, bit 0) are not pages.
    pages = [page for page in pages if not page.get(254, (0,))[0] & 1] or pages
    page = pages[0]
    (width,), (height,) = page[256], page[257]
    photometric = page.get(262, [1])[0]
    offsets = page.get(273) or page.get(324) or ()
    counts = page.get(279) or page.get(325) or ()
    complete = bool(offsets) and all(start + size <= len(data) for start, size in zip(offsets, counts, strict=False))
    return Header(
        "TIFF",
        width,
        height,
        bits=page.get(258, [1])[0],
        color=photometric > 1,
        orientation=page.get(274, [1])[0],
        frames=len(pages),
        complete=complete,
        white_is_zero=photometric == 0,
        sample_format=page.get(339, [1])[0],
    )


def _exif_orientation(exif: bytes) -> int:
    try:
        orientation = _directories(exif)[0].get(274, [1])[0]
    except (struct.error, IndexError):  # a broken EXIF block says nothing, and the pixels are there
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _directories(data: bytes) -> list[dict[int, tuple[int, ...]]]:
    """Read the whole-number tags of every image file directory (TIFF 6.0 section 2; BigTIFF)."""
    order = ">" if data[:2] == b"MM" else "<"
    big = data[2:4] in {b"+\0", b"\0+"}
    count_code, entry_size, word = ("Q", 20, "Q") if big else ("H", 12, "I")
    (offset,) = struct.unpack_from(order + word, data, 8 if big else 4)
    codes = {1: "B", 3: "H", 4: "I", 16: "Q"}
    seen: set[int] = set()
    directories = []
    while offset and offset not in seen:
        seen.add(offset)
        (entries,) = struct.unpack_from(order + count_code, data, offset)
        start = offset + struct.calcsize(count_code)
        tags: dict[int, tuple[int, ...]] = {}
        for position in range(start, start + entries * entry_size, entry_size):
            tag, kind, count = struct.unpack_from(order + "HH" + word, data, position)
            if kind in codes and count:
                values = f"{order}{count}{codes[kind]}"
                at = position + entry_size - struct.calcsize(word)
                if struct.calcsize(values) > struct.calcsize(word):
                    (at,) = struct.unpack_from(order + word, data, at)
                tags[tag] = struct.unpack_from(values, data, at)
        directories.append(tags)
        (offset,) = struct.unpack_from(order + word, data, start + entries * entry_size)
    return directories
