"""DICOM files → radiographs, with what they state about patient and examination, as far as it identifies nobody.

Only the elements that the pixels need, a few facts that identify nobody, and the two dates that make an age are looked
at. No text of pydicom's gets out: it may quote any value of the file. Coded views and body parts (PS3.3 section 8.8;
PS3.16 CID 4009, 4010 and 4031) stand here, because pydicom's tables of codes are large and slow to load.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cxr_edge.errors import InputError
from cxr_edge.files import SERIES_DESCRIPTION, STAMP
from cxr_edge.reading.data_set import DataSet, name, read_data_set
from cxr_edge.reading.display_parameters import of_single_frame, read_display_parameters
from cxr_edge.reading.display_pipeline import display
from cxr_edge.reading.image_header import ImageHeader, read_image_header
from cxr_edge.reading.pixel_data import find_pixel_data, stored_pixels
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.reading.transfer_syntax import check_supported

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


_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1, "": 1}
_OLDEST = 130
_CODE = r"[A-Z0-9_ ]{1,16}(\\[A-Z0-9_ ]{1,16}){0,3}"
# PS3.16 annex L, and the words that stations write beside them.
_BODY_PART_WORDS = frozenset(
    re.findall(
        "[A-Z]+",
        """
    ABDOMEN ADRENAL ANKLE ANTEBRACHIUM AORTA ARM AXILLA BACK BLADDER BODY BONE BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS
    CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CLAVICLE COCCYX COLON CSPINE CTSPINE EAR ELBOW ESOPHAGUS EXTREMITY EYE
    EYELID FACE FEMUR FIBULA FINGER FLANK FOOT FOREARM GALLBLADDER GROIN HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM
    ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LOWER LSPINE LSSPINE LUNG LUNGS MANDIBLE MAXILLA MEDIASTINUM MOUTH
    NASAL NECK NECKCHEST NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RECTUM RIB RIBS
    SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SIJOINT SINUS SINUSES SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS
    THIGH THORAX THUMB THYMUS THYROID TIBIA TLSPINE TMJ TOE TONGUE TOOTH TRACHEA TSPINE ULNA UPPER URETER URETHRA UTERUS
    VAGINA VULVA WHOLEBODY WRIST ZYGOMA CHESTABDOMEN CHESTABDPELVIS ABDOMENPELVIS
    AP PA LL RL LLD RLD LLO RLO LAT LATERAL OBLIQUE LEFT RIGHT PORT PORTABLE BEDSIDE ERECT SUPINE PRONE UPRIGHT
    DECUBITUS LORDOTIC UNKNOWN AND CR DX DR RG OT SC MG CT MR
    """,
    )
)


@dataclass(frozen=True)
class Age:
    """A patient's age.

    Attributes:
        years: In years; whole ones from 2 on where two dates gave the age.
        stated: The value of Patient's Age, or None where two dates gave the age.
    """

    years: float
    stated: str | None


def code(dataset: DataSet, keyword: str) -> str | None:
    r"""Give a coded string (PS3.5 section 6.2, CS), several of them joined by ``\``, in capital letters.

    Returns:
        None if it is missing or empty, or anything else than a code: free text could name somebody. What is not written
        in capital letters, which codes are, is one where every word of it is known.
    """
    value = "\\".join(filter(None, dataset.texts(keyword)))
    if not re.fullmatch(_CODE, value.upper()):
        return None
    known = value == value.upper() or {*re.split(r"[ _\\]+", value.upper())} <= _BODY_PART_WORDS
    return value.upper() if known else None


def code_warnings(dataset: DataSet, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """Say which coded strings are stated but are no code, without quoting them."""
    return tuple(
        f"{name(keyword)} is stated, but not as a code that is known: it was not taken into account."
        for keyword in keywords
        if dataset.texts(keyword) and code(dataset, keyword) is None
    )


def stated_age(dataset: DataSet) -> Age | None:
    """Give the patient's age: Patient's Age if it can be read, else the time from birth to study.

    A bare number, which some archives write, means years. Ages above 130 years and below 0 count as not stated.

    Returns:
        None where the file states none. The dates themselves appear nowhere.
    """
    stated = next(iter(dataset.texts("PatientAge")), "").upper()
    if read := re.fullmatch(r"(\d{1,3})([DWMY]?)", stated):
        return _plausible(int(read[1]) / _IN_A_YEAR[read[2]], stated)
    birth, study = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
    if not birth or not study:
        return None
    months = (study.year - birth.year) * 12 + study.month - birth.month - (study.day < birth.day)
    # As coarse as Patient's Age would be: with days, the age would give the date of birth away.
    return _plausible(months / 12 if months < 24 else months // 12, None)


def _plausible(years: float, stated: str | None) -> Age | None:
    return Age(round(years, 2), stated) if 0 <= years <= _OLDEST else None


def _date(dataset: DataSet, keyword: str) -> date | None:
    """Read a date (PS3.5 section 6.2, DA), also in the form with dots that came before."""
    read = re.fullmatch(r"(\d{4})(\.?)(\d\d)\2(\d\d)", next(iter(dataset.texts(keyword)), ""))
    try:
        return date(int(read[1]), int(read[3]), int(read[4])) if read else None
    except ValueError:  # such as a 30th of February, or a year 0
        return None


def is_own_result(dataset: DataSet) -> bool:
    """Say whether a DICOM object is a result of this program, also after an archive has changed some of it.

    It is known by its manufacturer, by that of its contributing equipment, or by its series description.
    """
    made_by = (dataset, *dataset.items("ContributingEquipmentSequence"))
    own = any(STAMP.decode() in each.texts("Manufacturer") for each in made_by)
    return own or SERIES_DESCRIPTION in dataset.texts("SeriesDescription")


_CODED_STRINGS = ("Modality", "BodyPartExamined", "ViewPosition")


def read_dicom(data: bytes, path: Path | None = None) -> Radiograph:
    r"""Read a single-frame DICOM image as it is meant to be shown.

    The header is checked first, then the pixels are decoded, turned to ``L\F`` (PS3.3 C.7.6.1.1.1) and sent through the
    stages of `cxr_edge.reading.display_pipeline`. A window that makes no sense, or none in an image deeper than 8 bits,
    gives way to the range of the values; pixel padding (C.7.5.1.1.2) counts for nothing and becomes black. Color is
    turned to grey by luma. `Source.steps` states what was done.

    Args:
        data: The whole file, with or without preamble.
        path: Where it came from.

    Returns:
        float32 pixels in 0..1.

    Raises:
        InputError: The file has no pixels, several frames, more than 100 megapixels, is damaged, contradicts itself,
            is a result of this program, or its transfer syntax has no decoder here. No message quotes a value that
            could identify somebody.
    """
    try:
        return _read(data, path)
    except InputError:
        raise
    except Exception:  # noqa: BLE001  # of a damaged file anything can be wrong, and a text may quote its values
        raise InputError("the DICOM data are damaged", kind="damaged", cure="fetch the file again") from None


def _read(data: bytes, path: Path | None) -> Radiograph:
    dataset = of_single_frame(read_data_set(data))
    if is_own_result(dataset):
        raise InputError("a DICOM result of cxr-edge", cure="name the radiograph itself", kind="own-output")
    check_supported(dataset.syntax)
    find_pixel_data(dataset)
    header = read_image_header(dataset)
    parameters = read_display_parameters(dataset, header)
    stored = stored_pixels(dataset, header)
    shown = display(stored.pixels, parameters)
    warnings = (*header.warnings, *stored.warnings, *shown.warnings, *code_warnings(dataset, _CODED_STRINGS))
    return Radiograph(shown.pixels, 1.0, _source(dataset, header, shown.steps, path), warnings)


def _source(dataset: DataSet, header: ImageHeader, steps: tuple[str, ...], path: Path | None) -> Source:
    modality, body_part, view_position = (code(dataset, keyword) for keyword in _CODED_STRINGS)
    age = stated_age(dataset)
    return Source(
        path,
        "DICOM",
        header.columns,
        header.rows,
        header.stored,
        steps,
        modality=modality,
        body_part=body_part,
        view_position=view_position,
        anatomic_region=coded(dataset, "AnatomicRegionSequence"),
        view_code=_view(dataset),
        patient_age_years=age.years if age else None,
        patient_age_stated=age.stated if age else None,
    )


def _view(dataset: DataSet) -> str | None:
    """Say what view the codes state, with its modifier, which belongs to the item of the view."""
    view = coded(dataset, "ViewCodeSequence")
    modifiers = (coded(item, "ViewModifierCodeSequence") for item in dataset.items("ViewCodeSequence")[:1])
    modifier = next(modifiers, None)
    return f"{view}, {modifier.lower()}" if view and modifier else view
