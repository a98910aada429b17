"""RLE compression (PS3.5 annex G)."""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import convert_color_space

from cxr_edge.reading.image_header import ImageHeader
from cxr_edge.reading.packbits import unpack


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
