"""Elements and transfer syntaxes by name, for reading and for messages; the names are pydicom's (PS3.6)."""

import re

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

# Transfer syntaxes of PS3.6 annex A that pydicom does not name yet.
_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K Referenced",
    "1.2.840.10008.1.2.4.205": "JPIP HTJ2K Referenced Deflate",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


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


def syntax_name(uid: str) -> str | None:
    """Name a transfer syntax with its UID; one that is not known by its UID alone, and what is no UID not at all."""
    if len(uid) > 64 or not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", uid, re.ASCII):
        return None  # pydicom would quote it in a warning
    known = UID(uid).name
    known = _NEWER.get(uid, uid) if known == uid else known
    return uid if known == uid else f"{known} ({uid})"
