"""RLE compression (PS3.5 annex G), with every count checked."""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import convert_color_space

from cxr_edge.reading.image_header import ImageHeader
from cxr_edge.reading.picture import damaged

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
