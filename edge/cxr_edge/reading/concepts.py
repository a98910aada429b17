"""Coded views and body parts (PS3.3 section 8.8; PS3.16 CID 4009, 4010 and 4031) in words.

Code Meaning (0008,0104) is free text and could name somebody: what a code means comes from the standard, by way of
pydicom's tables. These are large and slow to load, so the few codes of a chest radiograph stand here.
"""

import re
from dataclasses import dataclass

from cxr_edge.reading.data_set import DataSet

_SNOMED_RT = frozenset({"SRT", "SNM3", "99SDM"})
_SHAPES = {"SCT": r"\d{6,18}", "SRT": r"[A-Z]-[0-9A-F]{4,5}", "DCM": r"\d{6}"}
_WORDS = {
    # views, CID 4010
    ("SCT", "399348003"): "AP",
    ("SRT", "R-10206"): "AP",
    ("SCT", "272479007"): "PA",
    ("SRT", "R-40888"): "PA",
    ("SRT", "R-10214"): "PA",
    ("SCT", "399033003"): "frontal",
    ("SRT", "R-10202"): "frontal",
    ("SCT", "399067008"): "lateral",
    ("SRT", "R-102CD"): "lateral",
    ("SCT", "399173006"): "left lateral",
    ("SRT", "R-10236"): "left lateral",
    ("SCT", "399198007"): "right lateral",
    ("SRT", "R-10232"): "right lateral",
    # body parts, CID 4009 and 4031; the chest as the standard coded it before 2020 and since
    ("SCT", "51185008"): "CHEST",
    ("SRT", "T-D3000"): "CHEST",
    ("SCT", "816094009"): "CHEST",
    ("SCT", "43799004"): "CHEST",
    ("SRT", "T-D3200"): "CHEST",
    ("SCT", "39607008"): "LUNG",
    ("SRT", "T-28000"): "LUNG",
    ("SCT", "113345001"): "ABDOMEN",
    ("SRT", "T-D4000"): "ABDOMEN",
    ("SCT", "818981001"): "ABDOMEN",
}


@dataclass(frozen=True)
class _Code:
    scheme: str
    value: str


def coded(dataset: DataSet, keyword: str) -> str | None:
    """Say what the first item of a code sequence means.

    Args:
        dataset: The elements.
        keyword: Of the sequence, such as ``ViewCodeSequence``.

    Returns:
        The meaning in words of the standard, or ``code VALUE (SCHEME)`` of a SNOMED or DICOM code that pydicom does
        not know. None where the sequence is missing, or its code is of another scheme.
    """
    for item in dataset.items(keyword):
        code = _code(item)
        if code is not None:
            known = _WORDS.get((code.scheme, code.value))
            return known or _from_the_standard(code) or f"code {code.value} ({code.scheme})"
    return None


def _code(item: DataSet) -> _Code | None:
    """Read a code, if it has the shape of one; the shape stands in for a scheme that is not stated."""
    (stated, *_) = [scheme.upper() for scheme in item.texts("CodingSchemeDesignator")] or [""]
    schemes = ["SRT"] if stated in _SNOMED_RT else [stated] if stated else list(_SHAPES)
    for value in (*item.texts("CodeValue")[:1], *item.texts("LongCodeValue")[:1]):
        for scheme in schemes:
            if re.fullmatch(_SHAPES.get(scheme, "(?!)"), value.upper()):
                return _Code(scheme, value.upper())
    return None


def _from_the_standard(code: _Code) -> str | None:
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    wanted = Code(code.value, code.scheme, "")  # SRT and SCT codes of one concept are equal
    for group in (codes.cid4010, codes.cid4009, codes.cid4031, codes.cid4, codes.cid4011):
        for concept in group.concepts.values():
            if concept == wanted:
                return str(concept.meaning)
    return None
