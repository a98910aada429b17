"""JPEG → grey pixels, by a decoder that reports damage.

libjpeg fills in what is missing or unreadable, and calls that a warning. The decoder here (libjpeg-turbo through
``simplejpeg``) makes an error of every warning. What libjpeg cannot know is looked for here: scans that are missing as
a whole, and zeroed stretches of scans in which every bit pattern is valid.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.jpeg_header import JpegHeader, Scan, read_jpeg_header, without_segments
from cxr_edge.reading.picture import SAVE, Picture, check_size, damaged, steps_of, truncated, turned_upright

_DECODED = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_ZEROS = bytes(32)
_MOST_PADDING = 8
# What libjpeg remarks about application segments, and which ones the pixels can do without then.
_HARMLESS = {
    "unknown JFIF revision": {0xE0},
    "Unknown Adobe color transform": {0xEE},
    "bad ICC marker": {0xE2},
}
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def read_jpeg(data: bytes) -> Picture:
    """Read a JPEG file: Huffman- or arithmetic-coded, sequential or progressive, 8 bits.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off, damaged, too large, or of another process.
    """
    header = read_jpeg_header(data)
    check_size(header.width, header.height, 1)
    if header.lossless or header.bits != 8:  # these occur in DICOM alone
        raise _unsupported(header)
    if not header.complete:
        raise truncated("JPEG")
    pixels, warnings = decode_strictly(data, header)
    return Picture(
        turned_upright(pixels, header.orientation),
        255.0,
        "JPEG",
        header.width,
        header.height,
        header.bits,
        steps_of(color=len(header.components) > 1, orientation=header.orientation),
        warnings,
    )


def decode_strictly(data: bytes, header: JpegHeader) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode to grey, and make an error of whatever the decoder notices.

    Args:
        data: A codestream that is no JPEG-LS.
        header: Its facts.

    Returns:
        The luma, of lossless colour the red, uint8 [height, width], and warnings, one sentence each.

    Raises:
        InputError: Its data are damaged, or the decoder does not know its process.
    """
    if header.process not in _DECODED:
        raise _unsupported(header)
    if header.lacks_scans:
        raise InputError(
            "the JPEG data are cut off: whole scans are missing", cure="fetch the file again", kind="truncated"
        )
    colors = "RGB" if header.lossless and len(header.components) == 3 else "GRAY"  # lossless colour stays colour
    pixels, warnings = _decoded(data, header, colors)
    grey: NDArray[np.uint8] = pixels[:, :, 0]
    warnings += _check_zeros(data, header, grey)
    if header.arithmetic:
        warnings += ("An arithmetic-coded JPEG, in which damage may go unnoticed.",)
    return grey, warnings


def _unsupported(header: JpegHeader) -> InputError:
    return InputError(f"{header.name}, which is not read here", cure=SAVE, kind="unsupported")


def _decoded(data: bytes, header: JpegHeader, colors: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode; raise what libjpeg says, unless the pixels are whole all the same."""
    try:
        return simplejpeg.decode_jpeg(data, colors), ()
    except ValueError as error:
        message = str(error)
    for remark, codes in _HARMLESS.items():
        if remark in message and (shorter := without_segments(data, codes)) != data:
            return _decoded(shorter, read_jpeg_header(shorter), colors)
    extraneous = _EXTRANEOUS.search(message)
    end = header.scans[-1].end
    if extraneous and int(extraneous[1]) <= _MOST_PADDING and not any(data[end - int(extraneous[1]) : end]):
        warning = f"{extraneous[1]} needless bytes at the end of the JPEG data: padding, or damage to the last rows."
        return simplejpeg.decode_jpeg(data, colors, strict=False), (warning,)
    if message.startswith(("Unsupported color", "Sorry")):  # the latter where it was built without arithmetic coding
        raise _unsupported(header)
    raise damaged("JPEG", message.removeprefix("Corrupt JPEG data: "))


def _check_zeros(data: bytes, header: JpegHeader, grey: NDArray[Any]) -> tuple[str, ...]:
    """Look for zeros where the entropy code would accept anything.

    A hole in a sequential scan may pass for as many blocks as were in it. Refining scans hold bits without a code, and
    arithmetic decoding ends nowhere by itself.

    Returns:
        A warning where the zeros may be right.

    Raises:
        InputError: They cannot be.
    """
    for scan in header.scans:
        never = header.arithmetic or scan.zeros_say_minus_one or (scan.high > 0 and scan.first > 0)
        for size in _zeros(data, scan) if never or scan.high else ():
            what = f"{size} bytes of zeros inside its compressed pixels"
            if never:
                raise damaged("JPEG", what)
            # The first coefficients are refined by one bit for a block of 64 pixels, or for six blocks of 256. Where
            # the picture is flat, these bits may all be zeros; a hole changes it by one step of quantization.
            if np.bincount(grey.ravel()).max() < 256 * size:
                return (f"The JPEG data may be damaged ({what}).",)
    return ()


def _zeros(data: bytes, scan: Scan) -> Iterator[int]:
    """Give the length of every stretch of zeros in a scan that no code makes by chance."""
    at = data.find(_ZEROS, scan.start, scan.end)
    while at >= 0:
        size = scan.end - at - len(data[at : scan.end].lstrip(b"\0"))
        yield size
        at = data.find(_ZEROS, at + size, scan.end)
