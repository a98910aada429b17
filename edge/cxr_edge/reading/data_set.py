"""A DICOM file as a data set: elements by keyword, read as text, numbers or items (PS3.5, PS3.10 section 7.1).

pydicom's own reader warns and logs through switches that belong to the whole process, and its texts quote values of the
file. This one never does either, so files are read in several threads at once, and it copies nothing.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from cxr_edge.errors import InputError

PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 32
_MOST = 200_000
MAX_INFLATED = 400_000_000
"""Bytes; 100 megapixels in 16 bits, and as much again for everything else."""
_LONGEST = 4096  # bytes of a value that are looked at; no text or list of numbers here needs more
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H", "OB": "B", "UV": "Q", "SV": "q"}
_LONG = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)


def tag_of(keyword: str) -> int:
    """Give the tag of an element that the standard knows, such as 0x00280010 of ``Rows``."""
    return int(tag_for_keyword(keyword))


def representation_of(keyword: str) -> str:
    """Give the value representation of an element; of ``US or SS`` the first."""
    return str(dictionary_VR(tag_of(keyword))).split(" ", maxsplit=1)[0]


def name(keyword: str) -> str:
    """Name an element by its keyword and tag, such as ``Rows (0028,0010)``."""
    tag = tag_of(keyword)
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(frozen=True)
class Element:
    """One data element.

    Attributes:
        vr: Value representation as written; empty where the file does not write them.
        value: Its bytes; of a sequence or encapsulated pixels of undefined length with all delimiters but the last.
        undefined: Whether its length was undefined.
        complete: Whether the file reaches the end of the value.
        little: Whether its bytes are little endian.
    """

    vr: str
    value: memoryview
    undefined: bool = False
    complete: bool = True
    little: bool = True


class ElementReader:
    """Walks over the elements of one encoding."""

    def __init__(self, data: memoryview, *, little: bool, explicit: bool) -> None:
        self.data, self.little, self.explicit = data, little, explicit
        self.position, self.left = 0, _MOST
        order = "<" if little else ">"
        self.tag_of = struct.Struct(f"{order}HH").unpack_from
        self.short = struct.Struct(f"{order}H").unpack_from
        self.long = struct.Struct(f"{order}I").unpack_from

    def top_level(self, start: int, *, groups: tuple[int, ...] = ()) -> dict[int, Element]:
        """Read elements from a position on; those of some groups only, up to the first of another one."""
        return self.elements(start, len(self.data), groups=groups)

    def elements(self, start: int, end: int, *, depth: int = 0, groups: tuple[int, ...] = ()) -> dict[int, Element]:
        """Read elements up to a position or the end of an item."""
        self.position = start
        found: dict[int, Element] = {}
        while self.position + 8 <= end:
            tag = self.tag()
            if (groups and tag >> 16 not in groups) or tag == _SEQUENCE_END:
                break
            if tag == _ITEM_END:
                self.position += 8
                break
            vr, begin, length = self.head(end)
            if length == _UNDEFINED:
                stop = self.end_of_items(begin, end, vr, tag, depth)
                # Of encapsulated pixels without an end it is not known what is missing.
                complete = stop is not None
                element = Element(vr, self.data[begin : stop or end], True, complete, self.little)
                self.position = end if stop is None else stop + 8
            else:
                stop = begin + length
                element = Element(vr, self.data[begin : min(stop, end)], False, stop <= end, self.little)
                self.position = min(stop, end)
            found[tag] = element
            if not element.complete:
                break
        return found

    def items(self, start: int, end: int, *, depth: int = 0) -> Iterator[dict[int, Element]]:
        """Read the items of a sequence (PS3.5 section 7.5)."""
        if depth > _DEEPEST:
            raise InputError("sequences nested too deep", kind="damaged", cure="export the file again")
        position = start
        while position + 8 <= end:
            self.position = position
            if self.tag() != _ITEM:
                return
            (length,) = self.long(self.data, position + 4)
            stop = end if length == _UNDEFINED else min(position + 8 + length, end)
            yield self.elements(position + 8, stop, depth=depth + 1)
            position = self.position if length == _UNDEFINED else stop
            self.position = position

    def end_of_items(self, start: int, end: int, vr: str, tag: int, depth: int) -> int | None:
        """Find the delimiter after a value of undefined length; None where it is missing."""
        if tag == PIXEL_DATA or vr in {"OB", "OW"}:
            return self.end_of_fragments(start, end)
        nested = ElementReader(self.data, little=self.little, explicit=self.explicit and vr != "UN")
        nested.left = self.left
        nested.position = start
        for _ in nested.items(start, end, depth=depth):
            pass
        self.left = nested.left
        position = nested.position
        if position + 8 > end or self.tag(position) != _SEQUENCE_END:
            return None
        return position

    def end_of_fragments(self, start: int, end: int) -> int | None:
        """Find the delimiter after items that are no data sets; None where it is missing."""
        position = start
        while position + 8 <= end and self.tag(position) == _ITEM:
            self.count()
            position += 8 + self.long(self.data, position + 4)[0]
        return position if position + 8 <= end and self.tag(position) == _SEQUENCE_END else None

    def tag(self, position: int | None = None) -> int:
        """Read a tag."""
        group, element = self.tag_of(self.data, self.position if position is None else position)
        return int(group << 16 | element)

    def head(self, end: int) -> tuple[str, int, int]:
        """Read representation, start and length of the value (PS3.5 section 7.1.2)."""
        self.count()
        position = self.position
        vr = bytes(self.data[position + 4 : position + 6])
        # Some writers fall back to implicit representations within sequences.
        if not self.explicit or not (vr.isalpha() and vr.isupper()):
            return "", position + 8, self.long(self.data, position + 4)[0]
        if vr not in _LONG:
            return vr.decode(), position + 8, self.short(self.data, position + 6)[0]
        length = self.long(self.data, position + 8)[0] if position + 12 <= end else 0
        return vr.decode(), position + 12, length

    def count(self) -> None:
        """Refuse what is endless, or as good as that."""
        self.left -= 1
        if self.left < 0:
            raise InputError(f"more than {_MOST} data elements", kind="damaged", cure="export the file again")


def fragments(element: Element) -> list[memoryview]:
    """Give the items of encapsulated pixel data (PS3.5 section A.4): the basic offset table, then the fragments."""
    reader = ElementReader(element.value, little=element.little, explicit=True)
    found, position = [], 0
    while position + 8 <= len(element.value) and reader.tag(position) == _ITEM:
        reader.count()
        (length,) = reader.long(element.value, position + 4)
        found.append(element.value[position + 8 : position + 8 + length])
        position += 8 + length
    return found


@dataclass(frozen=True)
class DataSet:
    """Data elements by tag, and the few readings of them that a radiograph needs.

    Attributes:
        elements: By tag. The last one wins where a tag is repeated.
        syntax: Transfer Syntax UID (0002,0010), without padding; empty where the file states none.
        cut: The tag of the element in which the file ends; None where it ends after one.
    """

    elements: Mapping[int, Element]
    syntax: str = ""
    cut: int | None = None

    def __contains__(self, keyword: str) -> bool:
        """Say whether there is such an element, even an empty one."""
        return tag_of(keyword) in self.elements

    def get(self, keyword: str) -> Element | None:
        """Give an element, None where it is missing."""
        return self.elements.get(tag_of(keyword))

    def texts(self, keyword: str) -> list[str]:
        r"""Give the values of an element of text, split at ``\``, without padding; bytes beyond ASCII become ``?``."""
        element = self.get(keyword)
        if element is None:
            return []
        text = bytes(element.value[:_LONGEST]).decode("ascii", "replace").replace("\ufffd", "?")
        values = [value.strip(" \0\t\r\n") for value in text.split("\\")]
        return values if any(values) else []

    def numbers(self, keyword: str) -> list[float]:
        """Give the values of an element of numbers, written as text or as binary; NaN for those that are none."""
        element = self.get(keyword)
        if element is None:
            return []
        vr = element.vr
        if vr in {"", "UN"}:
            vr = representation_of(keyword)
        if code := _BINARY.get(vr):
            count = min(len(element.value), _LONGEST) // struct.calcsize(code)
            order = "<" if element.little else ">"
            return [float(value) for value in struct.unpack_from(f"{order}{count}{code}", element.value)]
        return [_float(text) for text in self.texts(keyword)]

    def number(self, keyword: str) -> float | None:
        """Give the first value of an element of numbers; None where it is missing, no number or not finite."""
        value = next(iter(self.numbers(keyword)), math.nan)
        return value if math.isfinite(value) else None

    def items(self, keyword: str) -> list[DataSet]:
        """Give the items of a sequence, none where it is missing."""
        element = self.get(keyword)
        if element is None or element.vr not in {"", "SQ", "UN"}:
            return []
        # PS3.5 section 6.2.2: what is written as UN is encoded with implicit representations.
        reader = ElementReader(element.value, little=element.little, explicit=element.vr == "SQ")
        return [DataSet(elements) for elements in reader.items(0, len(element.value))]

    def merged(self, other: DataSet) -> DataSet:
        """Give the same data set with the elements of another laid over its own."""
        return replace(self, elements={**self.elements, **other.elements})


def read_data_set(data: bytes) -> DataSet:
    """Read a DICOM file, or a data set without the preamble of one.

    The bytes decide whether representations are written and in which order bytes stand, because some files state a
    wrong transfer syntax.

    Args:
        data: The whole file.

    Returns:
        Its elements. Those of nested data sets are read when they are asked for.

    Raises:
        InputError: It is deflated and inflates to more than 400 MB, or cannot be inflated; or no data set can be made
            out.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    view = memoryview(data)
    meta = ElementReader(view, little=True, explicit=True)
    header = meta.top_level(start, groups=(0x0000, 0x0002))
    syntax = "".join(DataSet(header).texts("TransferSyntaxUID")[:1])
    position = meta.position
    if syntax == DeflatedExplicitVRLittleEndian:
        view, position = memoryview(_inflated(view[position:])), 0
    first = bytes(view[position : position + 6])
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    reader = ElementReader(view, little=not (explicit and first[0] == 0 and first[1] != 0), explicit=explicit)
    elements = reader.top_level(position)
    cut = next((tag for tag, element in elements.items() if not element.complete), None)
    return DataSet(elements, syntax, cut)


def _inflated(data: memoryview) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, MAX_INFLATED + 1)
    except zlib.error as error:
        problem = "its transfer syntax (0002,0010) says that the data set is deflated, but it cannot be inflated"
        raise InputError(problem, kind="damaged", cure="export the file again") from error
    if len(inflated) > MAX_INFLATED:
        raise InputError(
            f"inflates to more than {MAX_INFLATED // 10**6} MB, which no radiograph does", kind="too-large"
        )
    return inflated


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
