"""What a JPEG or JPEG-LS codestream says about itself, without decoding it."""

import re
import struct
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from cxr_edge.reading.picture import damaged, exif_orientation, truncated

JPEG_LS = 0xF7
"""Code of the start of frame of JPEG-LS (ITU-T T.87 C.1.1)."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC = frozenset(range(0xC9, 0xD0))


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
        zeros_say_minus_one: Whether zero bits stand for one coefficient -1 after the other instead of for empty blocks;
            such a scan never holds many zeros in a row.
    """

    components: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int
    start: int
    end: int
    zeros_say_minus_one: bool


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
        return not self.scans or any(missing.values())


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
    first_symbols: dict[int, int] = {}
    complete = False
    try:
        for code, start, end, following in _segments(data):
            body = data[start:end]
            if code in _STARTS_OF_FRAME and not frame:
                frame, precision_at = (code, *struct.unpack_from(">BHHB", body)), start
                components = tuple(body[6::3][: frame[4]])
            elif code == 0xDB:
                _check_quantization(body)
            elif code == 0xC4:
                first_symbols.update(_first_symbols(body))
            elif code == 0xE1 and body[:6] == b"Exif\0\0" and not orientation:
                orientation = exif_orientation(body[6:])
            elif code == 0xDA:
                first, last, bits = struct.unpack_from("BBB", body, 1 + 2 * body[0])
                names, tables = body[1 : 1 + 2 * body[0] : 2], body[2 : 2 + 2 * body[0] : 2]
                minus_one = last > 0 and any(first_symbols.get(table & 15) == 1 for table in tables)
                scans.append(Scan(tuple(names), first, last, bits >> 4, bits & 15, end, following, minus_one))
                if frame and frame[0] == JPEG_LS:  # its data may look like markers of JPEG
                    complete = b"\xff\xd9" in data[end:]
                    break
            complete = code == 0xD9
    except (struct.error, IndexError) as error:
        raise truncated("JPEG") from error
    if not frame:
        raise damaged("JPEG", "no frame header") if complete else truncated("JPEG")
    if not components or len(components) != frame[4]:
        raise damaged("JPEG", "its frame header")
    process, bits, height, width, _ = frame
    return JpegHeader(process, width, height, bits, components, orientation or 1, tuple(scans), complete, precision_at)


def without_segments(data: bytes, codes: AbstractSet[int]) -> bytes:
    """Leave out the segments with certain markers."""
    kept, position = [], 0
    for code, start, end, _ in _segments(data):
        if code in codes:
            kept.append(data[position : start - 4])  # marker and length stand before the content
            position = end
    return b"".join((*kept, data[position:]))


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


def _first_symbols(body: bytes) -> Iterator[tuple[int, int]]:
    """Give number and first symbol of every table for AC coefficients (T.81 B.2.4.2): its code is of zeros alone."""
    at = 0
    while at + 17 < len(body):
        if body[at] >> 4:
            yield body[at] & 15, body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])
