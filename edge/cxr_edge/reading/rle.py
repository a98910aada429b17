"""DICOM RLE Lossless (PS3.5 annex G), decoded with every count checked."""

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.picture import damaged, truncated


def decode_rle(frame: bytes, *, rows: int, columns: int, samples: int, bits_allocated: int) -> NDArray[np.uint8]:
    """Decode one frame into its byte planes.

    Args:
        frame: The compressed frame.
        rows: Rows.
        columns: Columns.
        samples: Samples a pixel.
        bits_allocated: Bits a sample, a multiple of 8.

    Returns:
        uint8 [samples · bytes a sample, rows, columns]; of each sample the most significant byte first.

    Raises:
        InputError: The segments are too many, too few, or do not hold exactly the pixels.
    """
    expected = samples * bits_allocated // 8
    if len(frame) < 64:
        raise truncated("RLE")
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != expected or expected > 15:
        raise damaged("RLE", f"{count} segments, expected {expected}")
    bounds = [*offsets[:count], len(frame)]
    if bounds[0] < 64 or bounds != sorted(bounds):
        raise damaged("RLE", "where its segments begin")
    planes = [_unpacked(frame, start, end, rows, columns) for start, end in pairwise(bounds)]
    return np.frombuffer(b"".join(planes), np.uint8).reshape(expected, rows, columns)


def _unpacked(frame: bytes, position: int, end: int, rows: int, columns: int) -> bytes:
    """Unpack one segment (G.3.2): no byte too few, none too many, and rows that begin with a run of their own.

    A run must not cross the end of a row (G.3.1). Some encoders do so everywhere, damage does so here and there.
    """
    size, total = rows * columns, 0
    runs: list[bytes] = []
    totals: list[int] = []
    while total < size and position < end:
        control = frame[position]
        position += 1
        if control < 128:
            runs.append(frame[position : position + control + 1])
            position += control + 1
            total += control + 1
        elif control > 128:
            runs.append(frame[position : position + 1] * (257 - control))
            position += 1
            total += 257 - control
        totals.append(total)
    if total != size or position > end:
        raise damaged("RLE", f"a segment of {total} bytes, expected {size}")
    # One byte makes the length even (G.3.1), and the last fragment may be padded again.
    if end - position > 2:
        raise damaged("RLE", f"{end - position} bytes after the pixels of a segment")
    crossed = rows - np.count_nonzero(np.asarray(totals) % columns == 0)
    if 0 < crossed < rows // 2:
        raise damaged("RLE", f"runs that cross the end of {crossed} of {rows} rows")
    return b"".join(runs)
