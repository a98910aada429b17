"""What a DICOM file states about patient and examination, as far as it identifies nobody."""

import re
from dataclasses import dataclass
from datetime import date

from cxr_edge.reading.data_set import DataSet
from cxr_edge.reading.dictionary import name

_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1, "": 1}
_OLDEST = 130
_CODE = r"[A-Z0-9_ ]{1,16}(\\[A-Z0-9_ ]{1,16}){0,3}"
# PS3.16 annex L, and the words that stations write beside them.
_WORDS = frozenset(
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
    known = value == value.upper() or {*re.split(r"[ _\\]+", value.upper())} <= _WORDS
    return value.upper() if known else None


def code_warnings(dataset: DataSet, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """Say which coded strings are stated but are no code, without quoting them."""
    return tuple(
        f"{name(keyword)} is stated, but not as a code that is known: it was not taken into account."
        for keyword in keywords
        if dataset.texts(keyword) and code(dataset, keyword) is None
    )


def age(dataset: DataSet) -> Age | None:
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
