"""One compressed frame of a DICOM file: damage that the decoders of pydicom say nothing about."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.jpeg import decode_strictly
from cxr_edge.reading.jpeg2000 import check_jpeg2000, read_jpeg2000_header
from cxr_edge.reading.jpeg_header import read_jpeg_header
from cxr_edge.reading.picture import truncated

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
