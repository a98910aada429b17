"""Elements by keyword, for reading and for messages; the names are pydicom's (PS3.6)."""

from pydicom.datadict import dictionary_VR, tag_for_keyword


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
