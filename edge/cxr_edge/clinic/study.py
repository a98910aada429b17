"""The study of a radiograph: what a DICOM result takes over from it, and how a result is put into it.

Patient, study and character set are taken over, and nothing that is invalid: a value that the standard does not allow
is repaired where that is sure, and left out where it is not. Texts are decoded by the character set that the file
states; where that fails for one of them, all are written as UTF-8.
"""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.sr.codedict import codes
from pydicom.valuerep import PN_DELIMS, PersonName

from cxr_edge import __version__
from cxr_edge.errors import InputError
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.files import SERIES_DESCRIPTION, STAMP
from cxr_edge.reading.data_set import DataSet, name, read_data_set, representation_of
from cxr_edge.reading.decode import read_content
from cxr_edge.reading.picture import Format, format_of
from cxr_edge.results.outcomes import Answer

MANUFACTURER = STAMP.decode()
SERIES_NUMBERS = {"SR": 9901, "OT": 9902, "PR": 9903}
"""Of the series of results in a study, by modality."""
_EDITION = 1  # raised when the same answer comes to mean another object
UTF_8 = "ISO_IR 192"
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Elements that a result must have; empty where the radiograph has no valid value."""
_OPTIONAL = ("IssuerOfPatientID", "PatientAge", "StudyDescription", "TimezoneOffsetFromUTC")
_LONGEST = {"LO": 64, "SH": 16, "PN": 64, "CS": 16}  # characters, PS3.5 section 6.2; of PN those of a component group
_SINGLE = frozenset(f"ISO_IR {each}" for each in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192))
_EXTENDED = frozenset(
    f"ISO 2022 IR {number}" for number in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166)
)
_TIMES = (("ContentDate", "ContentTime"), ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"))
_NO_DATE = "19000101"
_DECODING = threading.Lock()  # pydicom warns through filters that belong to the whole process


@dataclass(frozen=True)
class DicomSource:
    """The radiograph that a result belongs to.

    Attributes:
        sop_class: SOP Class UID (0008,0016).
        sop_instance: SOP Instance UID (0008,0018).
        study: Study Instance UID (0020,000D).
        series: Series Instance UID (0020,000E).
        values: Patient and study by keyword: all of `TYPE_2`, and what else is stated; only what PS3.5 allows.
        character_set: Specific Character Set (0008,0005) that all values can be written in; empty for plain ASCII.
        date: When the radiograph was made, as DA; a result takes it over, so that it is the same the second time.
        time: The same, as TM.
        elements: All elements of the file.
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    values: dict[str, str]
    character_set: tuple[str, ...]
    date: str
    time: str
    elements: DataSet


def read_source(file: Path | bytes) -> DicomSource:
    """Read what a result needs of a radiograph.

    Args:
        file: A DICOM file or its content.

    Raises:
        InputError: It is no DICOM file (``no-dicom``), or has no valid UID to refer to (``no-reference``).
    """
    path, data = (None, file) if isinstance(file, bytes) else (file, read_content(file))
    if format_of(data) is not Format.DICOM:
        problem, cure = "no DICOM file, which a DICOM result has to refer to", "leave --dicom-out out"
        raise InputError(problem, kind="no-dicom", cure=cure, path=path)
    elements = read_data_set(data)
    for keyword in _UIDS:
        (uid, *_) = elements.texts(keyword) or [""]
        if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", uid, re.ASCII) or len(uid) > 64:
            problem = f"has no valid {name(keyword)}, which a DICOM result has to refer to"
            raise InputError(problem, kind="no-reference", cure="repair the file at its source", path=path)
    sop_class, sop_instance, study, series = (elements.texts(keyword)[0] for keyword in _UIDS)
    texts, character_set = _texts(elements)
    values = ((keyword, _valid(keyword, texts.get(keyword, ""))) for keyword in (*TYPE_2, *_OPTIONAL))
    kept = {keyword: value for keyword, value in values if value or keyword in TYPE_2}
    return DicomSource(sop_class, sop_instance, study, series, kept, character_set, *_moment(elements), elements)


@dataclass(frozen=True, eq=False)
class ResultHeader:
    """What all DICOM objects of one answer have in common.

    Their UIDs depend on the radiograph's UID, the bundle and what was asked; on nothing that another machine or another
    day changes.

    Attributes:
        source: The radiograph.
        answer: Its answer.
        explanation: What explains it, if anything does.
    """

    source: DicomSource
    answer: Answer
    explanation: Explanation | None = None

    @property
    def device(self) -> str:
        """Device UID (0018,1002) of the bundle, which is the algorithm."""
        return _uid(f"device {self.answer.bundle.digest}")

    def uid(self, what: str) -> str:
        """Give the UID of one object, or of one finding in it."""
        return _uid(f"{what} {self._asked}")

    def arguments(self, modality: str, sop_class: str) -> dict[str, Any]:
        """Give what every class of highdicom takes to build an object of this answer."""
        digest, sop_instance = self.answer.bundle.digest, self.uid(sop_class)
        return {
            "series_instance_uid": _uid(f"series {modality} {self.source.study} {digest}"),
            "series_number": SERIES_NUMBERS[modality],
            "series_description": SERIES_DESCRIPTION,
            "sop_instance_uid": sop_instance,
            "instance_number": 1 + int(sop_instance.removeprefix("2.25.")) % 999_999_999,  # the same every time
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": long_string(self.answer.bundle.manifest.name),
            "software_versions": __version__,
            "device_serial_number": digest[:16],
        }

    def referenced(self) -> Dataset:
        """Give what highdicom asks of a radiograph; `complete` adds the patient, with the character set."""
        found, source = Dataset(), self.source
        found.SOPClassUID, found.SOPInstanceUID = source.sop_class, source.sop_instance
        found.StudyInstanceUID, found.SeriesInstanceUID = source.study, source.series
        for keyword in TYPE_2:
            setattr(found, keyword, "")
        return found

    def complete(self, result: Dataset) -> None:
        """Put patient, study, equipment and times into an object, in the place of what highdicom has put there."""
        for keyword in ("SpecificCharacterSet", "InstanceCreationDate", "InstanceCreationTime"):
            result.pop(keyword, None)
        if self.source.character_set:
            result.SpecificCharacterSet = list(self.source.character_set)
        for keyword, value in self.source.values.items():
            setattr(result, keyword, value)
        result.ContributingEquipmentSequence = [self._equipment()]

    def _equipment(self) -> Dataset:
        """Describe the bundle as the equipment that made the result (PS3.3 section C.12.1)."""
        bundle, item, purpose = self.answer.bundle, Dataset(), Dataset()
        code = codes.DCM.ProcessingEquipment
        purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code[:3]
        item.PurposeOfReferenceCodeSequence = [purpose]
        item.Manufacturer = MANUFACTURER
        item.ManufacturerModelName = long_string(bundle.manifest.name)
        item.DeviceSerialNumber = bundle.digest[:16]
        item.SoftwareVersions = [__version__, long_string(bundle.manifest.version)]
        item.DeviceUID = self.device
        item.ContributionDescription = f"bundle {bundle.digest}"
        return item

    @property
    def _asked(self) -> str:
        prediction, bundle = self.answer.prediction, self.answer.bundle
        asked = [
            f"{_EDITION} {self.source.sop_instance} {bundle.digest} {prediction.operating_point}",
            f"{prediction.threshold:.6f} {prediction.certain_from:.6f} {prediction.precision}",
            f"gate {prediction.gate_score is not None} variants {self.answer.spread is not None}",
        ]
        if explained := self.explanation:
            method = explained.saliency.method if explained.saliency else ""
            asked.append(f"{explained.target} {method} hiding {bool(explained.hidden)}")
            for each in filter(None, (explained.lime, explained.shap)):
                fills = f"{each.fill} {each.change.fill if each.change else ''}"
                asked.append(f"{each.method} {each.score} {fills} {each.superpixels.count} {each.seed}")
        return " ".join(asked)


def long_string(text: str, *, longest: int = 64) -> str:
    """Give a text as a Long String that every character set has (PS3.5 section 6.2, LO): ``?`` for what it has not."""
    return re.sub(r"[^ -\[\]-~]", "?", text)[:longest]


def _uid(seed: str) -> str:
    """Give the UID that belongs to a text (PS3.5 annex B.2: below 2.25, from 128 bits)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16])}"


def _texts(elements: DataSet) -> tuple[dict[str, str], tuple[str, ...]]:
    """Decode the carried texts; give them with the character set that all of them can be written in."""
    stated = _character_set(elements)
    found = {keyword: element for keyword in (*TYPE_2, *_OPTIONAL) if (element := elements.get(keyword))}
    decoded = {keyword: _decoded(bytes(each.value), stated or ("",)) for keyword, each in found.items()}
    texts = {keyword: text for keyword, (text, _) in decoded.items()}
    return texts, stated if stated is not None and all(same for _, same in decoded.values()) else (UTF_8,)


def _character_set(elements: DataSet) -> tuple[str, ...] | None:
    """Give the stated character set, empty for plain ASCII; None where it is none of PS3.3 section C.12.1.1.2."""
    terms = tuple(elements.texts("SpecificCharacterSet"))
    if terms in {(), ("ISO_IR 6",), ("ISO 2022 IR 6",)}:
        return ()
    if terms == ("GBK",):
        return ("GB18030",)  # which holds it, and which more programs know
    if len(terms) == 1 and terms[0] in _SINGLE | _EXTENDED | {"GB18030"}:
        return terms
    return terms if terms[0] in _EXTENDED | {""} and _EXTENDED.issuperset(terms[1:]) else None


def _decoded(value: bytes, character_set: tuple[str, ...]) -> tuple[str, bool]:
    """Decode a value; empty where it is of no character set that is known.

    Returns:
        The text, and whether the character set that the file states gives the same bytes again.
    """
    value = value.strip(b" \0")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii"), True
    first, *others = convert_encodings(list(character_set))
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of plain ASCII pydicom makes Latin alphabet 1, which nobody has stated.
        if character_set[0] not in {"", "ISO 2022 IR 6"} or value.split(b"\x1b")[0].isascii():
            with suppress(UserWarning, UnicodeError, LookupError):
                text = decode_bytes(value, [first, *others], set(PN_DELIMS))
                return text, bytes(PersonName(text).encode([first, *others])) == value
    for encoding in (*others, "utf-8"):
        with suppress(UnicodeError, LookupError):
            return value.decode(encoding), False
    return "", False


def _valid(keyword: str, text: str) -> str:
    """Give a value as its representation allows it, repaired where that is sure; empty where it is not."""
    representation = representation_of(keyword)
    match representation:
        case "DA":
            return _date(text)
        case "TM":
            return _time(text)
        case "AS":
            return _age(text)
        case "CS":
            return text.upper() if text.upper() in {"M", "F", "O"} else ""
    if keyword == "TimezoneOffsetFromUTC":
        return text if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", text, re.ASCII) else ""
    groups = text.split("=") if representation == "PN" else [text]
    fits = len(groups) <= 3 and all(len(each) <= _LONGEST[representation] and each.count("^") < 5 for each in groups)
    return text if fits and text.isprintable() and "\\" not in text else ""


def _date(text: str) -> str:
    """Read a date, also as ``2019.01.31`` or ``2019-01-31``; empty where there is no such day."""
    read = re.fullmatch(r"(\d{4})([.-]?)(\d\d)\2(\d\d)", text, re.ASCII)
    try:
        return date(int(read[1]), int(read[3]), int(read[4])).isoformat().replace("-", "") if read else ""
    except ValueError:
        return ""


def _time(text: str) -> str:
    """Read a time, also with colons; empty where there is none such."""
    plain = re.sub(r"^(\d\d):(\d\d)(:(?=\d))?", r"\1\2", text)
    read = re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", plain, re.ASCII)
    return plain if read else ""


def _age(text: str) -> str:
    """Read an age; a bare number means years, as in `cxr_edge.reading.dicom.stated_age`."""
    read = re.fullmatch(r"(\d{1,3})([DWMY]?)", text.upper(), re.ASCII)
    return f"{int(read[1]):03}{read[2] or 'Y'}" if read else ""


def _moment(elements: DataSet) -> tuple[str, str]:
    for day, hour in (*_TIMES, ("StudyDate", "StudyTime")):
        if found := _date("".join(elements.texts(day)[:1])):
            return found, _time("".join(elements.texts(hour)[:1])) or "000000"
    return _NO_DATE, "000000"
