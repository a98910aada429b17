"""A DICOM file as a data set: elements by keyword, read as text, numbers or items (PS3.5, PS3.10 section 7.1).

pydicom's own reader warns and logs through switches that belong to the whole process, and its texts quote values of the
file. This one never does either, so files are read in several threads at once, and it copies nothing.
"""

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr_edge.errors import InputError
from cxr_edge.reading.elements import Element, ElementReader, representation_of, tag_of

MAX_INFLATED = 400_000_000
"""Bytes; 100 megapixels in 16 bits, and as much again for everything else."""
_LONGEST = 4096  # bytes of a value that are looked at; no text or list of numbers here needs more
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H", "OB": "B", "UV": "Q", "SV": "q"}


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

    def items(self, keyword: str) -> list["DataSet"]:
        """Give the items of a sequence, none where it is missing."""
        element = self.get(keyword)
        if element is None or element.vr not in {"", "SQ", "UN"}:
            return []
        # PS3.5 section 6.2.2: what is written as UN is encoded with implicit representations.
        reader = ElementReader(element.value, little=element.little, explicit=element.vr == "SQ")
        return [DataSet(elements) for elements in reader.items(0, len(element.value))]

    def merged(self, other: "DataSet") -> "DataSet":
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
