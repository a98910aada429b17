"""RLE compression (PS3.5 annex G)."""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import convert_color_space

from cxr_edge.errors import InputError
from cxr_edge.reading.dictionary import name
from cxr_edge.reading.image_header import ImageHeader, contradiction


def decode_rle(data: bytes, header: ImageHeader) -> NDArray[Any]:
    """Decode one frame.

    Its segments hold the bytes of all pixels one after the other: those of the first sample, the highest byte first.

    Args:
        data: The frame; its number of segments is that of the header.
        header: What the file says about it.

    Returns:
        Words of Bits Allocated, signed where the header says so: [height, width], or [height, width, 3] in RGB order.

    Raises:
        InputError: A segment holds too few bytes, or more than the header asks for.
    """
    (count,) = struct.unpack_from("<I", data)
    ends = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    size = header.rows * header.columns
    planes = [_expanded(data[start:end], size) for start, end in pairwise(ends)]
    sample = header.allocated // 8
    words = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], -1)
    kind = "i" if header.signed else "u"
    pixels = words.view(f">{kind}{sample}").astype(f"{kind}{sample}")
    if header.samples == 1:
        return pixels.reshape(header.rows, header.columns)
    colors = pixels.reshape(header.rows, header.columns, header.samples)
    return convert_color_space(colors, "YBR_FULL", "RGB") if header.photometric == "YBR_FULL" else colors


def _expanded(segment: bytes, size: int) -> bytes:
    """Expand one segment (PS3.5 section G.3.2)."""
    expanded, position = bytearray(), 0
    while position < len(segment) and len(expanded) <= size + 1:
        control = segment[position]
        if control < 128:
            expanded += segment[position + 1 : position + 2 + control]
            position += 2 + control
        elif control > 128:
            expanded += segment[position + 1 : position + 2] * (257 - control)
            position += 2
        else:
            position += 1
    if len(expanded) < size:
        problem = f"an RLE segment of its pixels lacks {size - len(expanded)} of {size} bytes"
        raise InputError(problem, kind="damaged", cure="fetch the file again")
    # Some writers fill a segment up to an even number of bytes before they compress it.
    if len(expanded) > size + 1:
        raise contradiction("more pixels", f"{name('Columns')} and {name('Rows')} ask for {size}")
    return bytes(expanded[:size])
