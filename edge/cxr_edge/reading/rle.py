"""DICOM RLE Lossless (PS3.5 annex G), with every count checked."""

import numpy as np

from cxr_edge.reading.picture import damaged

_ZEROS, _ONES = bytes(32), b"\xff" * 32


def unpack_segment(segment: bytes, *, rows: int, columns: int) -> bytes:
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
    size, total, position = rows * columns, 0, 0
    runs: list[bytes] = []
    repeats = spelled_out = False
    totals: list[int] = []
    while total < size and position < len(segment):
        control = segment[position]
        position += 1
        if control < 128:
            runs.append(segment[position : position + control + 1])
            spelled_out |= control >= len(_ZEROS) and (_ZEROS in runs[-1] or _ONES in runs[-1])
            position += control + 1
            total += control + 1
        elif control > 128:
            runs.append(segment[position : position + 1] * (257 - control))
            position += 1
            total += 257 - control
            repeats = True
        totals.append(total)
    if total != size or position > len(segment):
        raise damaged("RLE", f"a segment of {total} bytes instead of {size}")
    # One byte makes the length even, and the fragment around the last segment may be padded again.
    if len(segment) - position > 2:
        raise damaged("RLE", f"{len(segment) - position} bytes after the pixels of a segment")
    crossed = rows - np.unique(np.asarray(totals)[np.asarray(totals) % columns == 0]).size
    if 0 < crossed < (rows + 1) // 2:
        raise damaged("RLE", f"runs that cross the end of {crossed} of {rows} rows")
    if repeats and spelled_out:
        raise damaged("RLE", "equal bytes that are no run")
    return b"".join(runs)
