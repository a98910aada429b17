"""What a compressed image says about itself, before anything is decoded or allocated.

The sizes that a codestream states are those that a decoder allocates, whatever the DICOM header says.
"""

import re
import struct
from dataclasses import dataclass

BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
"""How a frame in JPEG or JPEG-LS, a JPEG 2000 codestream and a JP2 file begin."""
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "


@dataclass(frozen=True)
class Codestream:
    """The facts of a compressed image.

    Attributes:
        family: ``JPEG``, ``JPEG-LS``, ``JPEG 2000`` or ``RLE``.
        components: Samples a pixel; of RLE the number of segments, which is that times the bytes of a sample.
        width: Columns; None of RLE, which does not state them.
        height: Rows; likewise.
        bits: Bits a sample; likewise.
        signed: Whether JPEG 2000 samples are signed.
        process: The JPEG frame marker, such as 0xC0 for baseline and 0xC3 for lossless; None of the others.
        names_rgb: Whether its JPEG components are called R, G and B.
        jfif: Whether a JFIF header says that JPEG colors are YCbCr.
    """

    family: str
    components: int
    width: int | None = None
    height: int | None = None
    bits: int | None = None
    signed: bool = False
    process: int | None = None
    names_rgb: bool = False
    jfif: bool = False


def read_codestream(data: bytes) -> Codestream | None:
    """Read the header of a compressed image.

    Args:
        data: One frame: JPEG (ISO/IEC 10918-1), JPEG-LS (14495-1), JPEG 2000 (15444-1) as a bare codestream or in a
            JP2 file, or RLE (PS3.5 annex G).

    Returns:
        Its facts, None where it is none of these or its header is damaged.
    """
    try:
        if data.startswith(_JPEG):
            return _jpeg(data)
        # A JP2 file begins with boxes; the codestream lies behind a few hundred bytes of them.
        if data.startswith((_JPEG_2000, _JP2)) and (start := data.find(_JPEG_2000, 0, 4096)) >= 0:
            return _jpeg_2000(data, start)
        return _rle(data)
    except (struct.error, IndexError):
        return None


def _jpeg(data: bytes) -> Codestream | None:
    """Read the start of frame (ISO/IEC 10918-1 B.2.2; JPEG-LS: 14495-1 C.2.2)."""
    position, jfif = 2, False
    while marker := _MARKER.search(data, position):
        position, code = marker.end(), data[marker.end() - 1]
        (length,) = struct.unpack_from(">H", data, position)
        if code in _START_OF_FRAME:
            bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            names = bytes(data[position + 8 + 3 * index] for index in range(components))
            family = "JPEG-LS" if code == 0xF7 else "JPEG"
            names_rgb = names in {b"RGB", b"rgb"}
            return Codestream(family, components, width, height, bits, process=code, names_rgb=names_rgb, jfif=jfif)
        jfif = jfif or (0xE0 <= code <= 0xEF and data[position + 2 : position + 6] == b"JFIF")
        position += length
    return None


def _jpeg_2000(data: bytes, start: int) -> Codestream:
    """Read image and component sizes (ISO/IEC 15444-1 A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    return Codestream(
        "JPEG 2000", components, right - left, bottom - top, (depth & 0x7F) + 1, signed=bool(depth & 0x80)
    )


def _rle(data: bytes) -> Codestream | None:
    """Read the RLE header (PS3.5 section G.5)."""
    count, *offsets = struct.unpack_from("<16I", data)
    used = offsets[:count]
    if not 1 <= count <= 15 or used[0] != 64 or used != sorted(used) or used[-1] > len(data):
        return None
    return Codestream("RLE", count)
