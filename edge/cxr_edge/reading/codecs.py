"""One compressed frame of a DICOM file: damage that the decoders of pydicom say nothing about.

The arithmetic decoder of JPEG 2000 takes any bytes for pixels, so OpenJPEG answers a codestream with a hole without a
word. Two things never occur in intact compressed data: bytes above 0xFF8F (ISO/IEC 15444-1 C.3, B.10.1), and more zeros
in a row than the empty packets of a tile and the bits of one packet header can make. RLE (PS3.5 annex G) is decoded
here, with every count checked.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import convert_color_space

from cxr_edge.reading.image_header import ImageHeader
from cxr_edge.reading.jpeg import decode_strictly
from cxr_edge.reading.jpeg_header import read_jpeg_header
from cxr_edge.reading.picture import damaged, truncated

_START = b"\xff\x4f\xff\x51"
_MARKER_LIKE = re.compile(rb"\xff[\x90-\xff]")
_RESYNCHRONISATION = frozenset({b"\xff\x91", b"\xff\x92"})  # SOP and EPH, which may stand between packets
_HEADER_BYTES = 16  # zeros that the header of one packet may hold beside its inclusion bits, generously


@dataclass(frozen=True)
class Jpeg2000Header:
    """The facts of a codestream (ISO/IEC 15444-1 A.5.1 and A.6.1).

    Attributes:
        width: Columns.
        height: Rows.
        components: How many.
        bits: Bits a sample of the first component.
        signed: Whether its samples are signed.
        longest_zeros: How many zero bytes in a row its compressed data may hold at most.
        tiles_at: Where its first tile-part begins.
    """

    width: int
    height: int
    components: int
    bits: int
    signed: bool
    longest_zeros: int
    tiles_at: int


def read_jpeg2000_header(data: bytes) -> Jpeg2000Header:
    """Read the main header of a codestream, bare or in a JP2 file.

    Raises:
        InputError: It ends too early or cannot be right.
    """
    start = data.find(_START)
    if start < 0:
        raise damaged("JPEG 2000", "no codestream")
    try:
        _, right, bottom, left, top, tile_width, tile_height, _, _, components, depth = struct.unpack_from(
            ">H8IHB", data, start + 6
        )
        position, style = start + 2, None
        while (marker := data[position : position + 2]) != b"\xff\x90":
            if marker[:1] != b"\xff" or marker[1] < 0x50:
                raise damaged("JPEG 2000", "its main header")
            (length,) = struct.unpack_from(">H", data, position + 2)
            if marker == b"\xff\x52":
                style = data[position + 4 : position + 2 + length]
            position += 2 + length
        if style is None or not tile_width or not tile_height or right <= left or bottom <= top:
            raise damaged("JPEG 2000", "its main header")
        width, height = right - left, bottom - top
        zeros = _longest_zeros(style, min(width, tile_width), min(height, tile_height), components)
    except (struct.error, IndexError) as error:
        raise truncated("JPEG 2000") from error
    return Jpeg2000Header(width, height, components, (depth & 127) + 1, depth > 127, zeros, position)


def check_jpeg2000(data: bytes, header: Jpeg2000Header) -> None:
    """Look for bytes that no encoder writes.

    Raises:
        InputError: There are some.
    """
    if bytes(header.longest_zeros + 1) in data:
        raise damaged("JPEG 2000", f"more than {header.longest_zeros} bytes of zeros inside its compressed pixels")
    for start, end in _tile_parts(data, header.tiles_at):
        for found in _MARKER_LIKE.finditer(data, start, end):
            if found.group() not in _RESYNCHRONISATION:
                raise damaged("JPEG 2000", "a marker inside its compressed pixels")


def _longest_zeros(style: bytes, width: int, height: int, components: int) -> int:
    """Count the empty packets of a tile, one byte each, and the bits of one packet header (B.10.3, B.10.4)."""
    coding, _, layers, _, levels, block_width, block_height = struct.unpack_from(">BBHBBBB", style)
    if levels > 32 or block_width > 8 or block_height > 8:
        raise damaged("JPEG 2000", "its coding style")
    packets = 0
    for level in range(levels + 1):
        precinct = style[10 + level] if coding & 1 else 0xFF
        across, down = (-(-size >> levels - level) for size in (width, height))
        # A precinct that is smaller than any image may be cut by the edges of a tile.
        packets += (-(-across >> (precinct & 15)) + (precinct != 0xFF)) * (
            -(-down >> (precinct >> 4)) + (precinct != 0xFF)
        )
    # The three largest subbands have half the size. In one layer, what is not included is coded as a tree; in later
    # ones each block has a bit of its own.
    columns, rows = (width >> block_width + 3) + 1, (height >> block_height + 3) + 1
    bits = columns if layers == 1 else 3 * columns * rows
    return packets * layers * components + bits // 8 + _HEADER_BYTES


def _tile_parts(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Give start and end of the packets of every tile-part (A.4.2).

    Raises:
        InputError: A tile-part ends outside the codestream, or something else stands where one must begin.
    """
    end_of_codestream = data.rfind(b"\xff\xd9")
    while data[position : position + 2] == b"\xff\x90":
        try:
            (length,) = struct.unpack_from(">I", data, position + 6)
            at = position + 12
            while data[at : at + 2] != b"\xff\x93":
                at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        except struct.error as error:
            raise truncated("JPEG 2000") from error
        end = position + length if length else end_of_codestream
        if end > len(data) or end < at:
            raise truncated("JPEG 2000")
        yield at + 2, end
        position = end
    if data[position : position + 2] != b"\xff\xd9":
        raise truncated("JPEG 2000") if position >= len(data) else damaged("JPEG 2000", "its tile-parts")


_ZEROS, _ONES = bytes(32), b"\xff" * 32


def unpack(segment: bytes, *, rows: int, columns: int) -> bytes:
    """Expand one segment (PS3.5 section G.3.2): no byte too few and none too many.

    A run must not cross the end of a row (G.3.1): some encoders do so everywhere, damage does so here and there. And an
    encoder that writes runs of equal bytes does not write them out.

    Args:
        segment: The segment, with what pads it to an even length.
        rows: Rows of the image.
        columns: Its columns.

    Returns:
        One byte a pixel.

    Raises:
        InputError: It does not hold the pixels.
    """
    size, total, position, length = rows * columns, 0, 0, len(segment)
    runs: list[bytes] = []
    repeats = False
    while total < size and position < length:
        control = segment[position]
        if control < 128:
            following = position + control + 2
            runs.append(segment[position + 1 : following])
            total += control + 1
            position = following
        elif control > 128:
            runs.append(segment[position + 1 : position + 2] * (257 - control))
            total += 257 - control
            position += 2
            repeats = True
        else:
            position += 1
    # Some writers fill a segment up to an even number of bytes before they compress it.
    if not size <= total <= size + size % 2 or position > length:
        raise damaged("RLE", f"a segment of {total} bytes instead of {size}")
    # One byte makes the length even, and the fragment around the last segment may be padded again.
    if length - position > 2:
        raise damaged("RLE", f"{length - position} bytes after the pixels of a segment")
    if repeats and (_ZEROS in segment or _ONES in segment):
        raise damaged("RLE", "equal bytes that are no run")
    ends = np.cumsum(list(map(len, runs)))
    crossed = rows - np.count_nonzero(np.minimum(ends, size) % columns == 0)
    if 0 < crossed < (rows + 1) // 2:
        raise damaged("RLE", f"runs that cross the end of {crossed} of {rows} rows")
    return b"".join(runs)[:size]


def decode_rle(data: bytes, header: ImageHeader) -> NDArray[Any]:
    """Decode one frame.

    Its segments hold the bytes of all pixels one after the other: those of the first sample, the highest byte first.

    Args:
        data: The frame; its number of segments is that of the header.
        header: What the file says about it.

    Returns:
        Words of Bits Allocated, signed where the header says so: [height, width], or [height, width, 3] in RGB order.

    Raises:
        InputError: A segment does not hold the pixels.
    """
    (count,) = struct.unpack_from("<I", data)
    ends = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    rows, columns = header.rows, header.columns
    planes = [unpack(data[start:end], rows=rows, columns=columns) for start, end in pairwise(ends)]
    sample = header.allocated // 8
    words = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], -1)
    kind = "i" if header.signed else "u"
    pixels = words.view(f">{kind}{sample}").astype(f"{kind}{sample}")
    if header.samples == 1:
        return pixels.reshape(rows, columns)
    colors = pixels.reshape(rows, columns, header.samples)
    return convert_color_space(colors, "YBR_FULL", "RGB") if header.photometric == "YBR_FULL" else colors


STRICT_PLUGINS = {"JPEG-LS": "pyjpegls"}
"""Family of codestreams → the only plugin of pydicom that notices their damage: pyjpegls does, pylibjpeg does not."""


@dataclass(frozen=True, eq=False)
class CheckedFrame:
    """A frame in which no damage was found.

    Attributes:
        pixels: uint8 [height, width] where the check decoded them: grey JPEG of 8 bits; else None.
        warnings: What leaves its pixels in doubt, one sentence each.
    """

    pixels: NDArray[np.uint8] | None = None
    warnings: tuple[str, ...] = ()


def check_frame(data: bytes, family: str) -> CheckedFrame:
    """Look for damage in a frame whose size has been compared with the header.

    Args:
        data: The frame as it lies in the file, fragments joined.
        family: ``JPEG``, ``JPEG 2000``, or another one, whose decoder notices damage: ``JPEG-LS``, ``RLE``.

    Raises:
        InputError: There is some (``damaged``, ``truncated``).
    """
    if family == "JPEG 2000":
        check_jpeg2000(data, read_jpeg2000_header(data))
    if family == "JPEG-LS" and not read_jpeg_header(data).complete:  # CharLS may look for its end for many seconds
        raise truncated("JPEG-LS")
    if family != "JPEG":
        return CheckedFrame()
    header = read_jpeg_header(data)
    # Entropy codes do not depend on the depth of the samples, and this decoder knows 8 bits. The pixels of a deeper
    # frame are wrong then, but its damage is found all the same.
    shallow = data[: header.precision_at] + b"\x08" + data[header.precision_at + 1 :]
    pixels, warnings = decode_strictly(shallow, header)
    right = header.bits == 8 and not header.lossless and len(header.components) == 1
    return CheckedFrame(pixels if right else None, warnings)
