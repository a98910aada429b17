"""JPEG: what a codestream says about itself, and grey pixels by a decoder that reports damage.

libjpeg fills in what is missing or unreadable, and calls that a warning. The decoder here (libjpeg-turbo through
``simplejpeg``) makes an error of every warning. What libjpeg cannot know is looked for here: scans that are missing as
a whole, and zeroed stretches of scans in which every bit pattern is valid.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.limits import check_size
from cxr_edge.reading.picture import SAVE, Picture, damaged, exif_orientation, steps_of, truncated, upright

JPEG_LS = 0xF7
"""Code of the start of frame of JPEG-LS (ITU-T T.87 C.1.1)."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_HOLE = re.compile(rb"\0{32,}")
_MOST_PADDING = 8
# What libjpeg remarks about headers; the pixels are not concerned.
_HARMLESS = ("unknown JFIF revision", "Unknown Adobe color transform", "bad ICC marker")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True)
class Scan:
    """One scan of a codestream (ITU-T T.81 B.2.3).

    Attributes:
        components: Identifiers of the components in it.
        first: Its first coefficient (Ss).
        last: Its last coefficient (Se).
        high: The bit position of the scan before it (Ah); above 0 it refines.
        low: Its bit position (Al).
        start: Where its entropy-coded data begin.
        end: Where they end.
    """

    components: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int
    start: int
    end: int


@dataclass(frozen=True)
class JpegHeader:
    """The facts of a JPEG or JPEG-LS codestream.

    Attributes:
        process: Code of its start of frame: 0xC0 baseline, 0xC2 progressive, 0xC3 lossless, 0xF7 JPEG-LS, ….
        width: Columns.
        height: Rows.
        bits: Bits a sample.
        components: Identifiers of its components.
        orientation: EXIF orientation.
        scans: Its scans in order; of JPEG-LS the first.
        complete: Whether it reaches its end marker.
        precision_at: Where the byte lies that states `bits`.
    """

    process: int
    width: int
    height: int
    bits: int
    components: tuple[int, ...]
    orientation: int
    scans: tuple[Scan, ...]
    complete: bool
    precision_at: int

    @property
    def lossless(self) -> bool:
        """Whether it predicts pixels instead of transforming blocks (T.81 annex H)."""
        return self.process in _LOSSLESS

    @property
    def arithmetic(self) -> bool:
        """Whether its entropy code is the arithmetic one (T.81 annex D)."""
        return self.process in _ARITHMETIC

    @property
    def name(self) -> str:
        """What the compression is called."""
        if self.process == JPEG_LS:
            return "JPEG-LS"
        kind = "lossless " if self.lossless else "progressive " if self.process in _PROGRESSIVE else ""
        return f"{'arithmetic-coded ' if self.arithmetic else ''}{kind}{self.bits}-bit JPEG"

    @property
    def lacks_scans(self) -> bool:
        """Whether a component, or some bits of its coefficients, never come (T.81 G.1.1.1)."""
        blocks = not self.lossless
        missing = {(name, place): 1 for name in self.components for place in range(64 if blocks else 1)}
        for scan in self.scans:
            places = range(scan.first, min(scan.last, 63) + 1) if blocks else range(1)
            missing.update({(name, place): scan.low if blocks else 0 for name in scan.components for place in places})
        return any(missing.values())


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the facts of a codestream without decoding it.

    Args:
        data: From its SOI marker on.

    Raises:
        InputError: It ends before it has stated its size, or its tables cannot be right.
    """
    frame: tuple[int, ...] = ()
    components: tuple[int, ...] = ()
    orientation = precision_at = 0
    scans: list[Scan] = []
    complete = False
    try:
        for code, start, end, following in _segments(data):
            body = data[start:end]
            if code in _STARTS_OF_FRAME and not frame:
                frame, precision_at = (code, *struct.unpack_from(">BHHB", body)), start
                components = tuple(body[6::3][: frame[4]])
            elif code == 0xDB:
                _check_quantization(body)
            elif code == 0xE1 and body[:6] == b"Exif\0\0" and not orientation:
                orientation = exif_orientation(body[6:])
            elif code == 0xDA:
                first, last, bits = struct.unpack_from("BBB", body, 1 + 2 * body[0])
                scans.append(
                    Scan(tuple(body[1 : 1 + 2 * body[0] : 2]), first, last, bits >> 4, bits & 15, end, following)
                )
                if frame and frame[0] == JPEG_LS:  # its data may look like markers of JPEG
                    complete = b"\xff\xd9" in data[end:]
                    break
            complete = code == 0xD9
    except (struct.error, IndexError) as error:
        raise truncated("JPEG") from error
    if not frame:
        raise damaged("JPEG", "no frame header") if complete else truncated("JPEG")
    process, bits, height, width, _ = frame
    return JpegHeader(process, width, height, bits, components, orientation or 1, tuple(scans), complete, precision_at)


def read_jpeg(data: bytes) -> Picture:
    """Read a JPEG file: Huffman- or arithmetic-coded, sequential or progressive, 8 bits.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off, damaged, too large, or of another process.
    """
    header = read_jpeg_header(data)
    check_size(header.width, header.height, 1)
    if header.lossless or header.process == JPEG_LS or header.bits != 8:
        raise InputError(f"{header.name}, which is not read outside DICOM", cure=SAVE, kind="unsupported")
    if not header.complete:
        raise truncated("JPEG")
    pixels, warnings = decode_strictly(data, header)
    return Picture(
        upright(pixels, header.orientation),
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
    if header.lacks_scans:
        raise InputError(
            "the JPEG data are cut off: whole scans are missing", cure="fetch the file again", kind="truncated"
        )
    warnings: tuple[str, ...] = ()
    colors = "RGB" if header.lossless and len(header.components) == 3 else "GRAY"  # lossless colour stays colour
    try:
        pixels = simplejpeg.decode_jpeg(data, colors)
    except ValueError as error:
        warnings = _judge(str(error), data, header)
        pixels = simplejpeg.decode_jpeg(data, colors, strict=False)
    grey: NDArray[np.uint8] = pixels[:, :, 0]
    if hole := _hole(data, header, grey):
        raise damaged("JPEG", f"{hole} bytes of zeros inside its compressed pixels")
    if header.arithmetic:
        warnings += ("An arithmetic-coded JPEG, in which damage may go unnoticed.",)
    return grey, warnings


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Give code, start and end of the content, and the place of the next marker, for every marker up to EOI."""
    marker = _NEXT_MARKER.search(data, 2)
    while marker:
        code, start = data[marker.end() - 1], marker.end()
        if code == 0xD9:
            yield code, start, start, start
            return
        end = start
        if code not in {0x01, 0xD8}:
            (length,) = struct.unpack_from(">H", data, start)
            start, end = start + 2, start + length
        marker = _NEXT_MARKER.search(data, end)
        yield code, start, end, marker.start() if marker else len(data)


def _check_quantization(body: bytes) -> None:
    """Refuse quantization tables with an element 0 (T.81 B.2.4.1): zeroed ones make a picture without contents."""
    at = 0
    while at < len(body):
        size = 128 if body[at] >> 4 else 64
        steps = body[at + 1 : at + 1 + size]
        if 0 in (steps if size == 64 else struct.unpack(f">{len(steps) // 2}H", steps)):
            raise damaged("JPEG", "a quantization step of 0")
        at += 1 + size


def _judge(message: str, data: bytes, header: JpegHeader) -> tuple[str, ...]:
    """Make warnings of what libjpeg says where the pixels are whole all the same; raise where they are not."""
    if any(each in message for each in _HARMLESS):
        return ()
    extraneous = _EXTRANEOUS.search(message)
    end = header.scans[-1].end
    if extraneous and int(extraneous[1]) <= _MOST_PADDING and not any(data[end - int(extraneous[1]) : end]):
        return (f"{extraneous[1]} needless bytes at the end of the JPEG data: padding, or damage to the last rows.",)
    if message.startswith(("Unsupported", "Sorry")):
        raise InputError(f"{header.name}, which is not read here", cure=SAVE, kind="unsupported")
    raise damaged("JPEG", message.removeprefix("Corrupt JPEG data: "))


def _hole(data: bytes, header: JpegHeader, grey: NDArray[Any]) -> int:
    """Find zeros where the entropy code would accept anything; give how many, 0 where there are none.

    Refining scans hold bits without a code, and arithmetic decoding ends nowhere by itself. A scan that refines the
    first coefficients holds zeros of its own where the picture is flat: one bit for a block of 64 pixels (or for six
    blocks of 256), which are all of one value then.
    """
    for scan in header.scans:
        if scan.high or header.arithmetic:
            for hole in _HOLE.finditer(data, scan.start, scan.end):
                size = hole.end() - hole.start()
                if scan.first or header.arithmetic or np.bincount(grey.ravel()).max() < 256 * size:
                    return size
    return 0
