"""What a DICOM file states about patient and examination, as far as it identifies nobody."""

import re
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

TAGS = ("Modality", "BodyPartExamined", "ViewPosition", "PatientAge", "PatientBirthDate", "StudyDate")
_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1, "": 1}
_OLDEST = 130


@dataclass(frozen=True)
class Age:
    """A patient's age.

    Attributes:
        years: In years; whole ones from 2 on where two dates gave the age.
        stated: The value of Patient's Age, or None where two dates gave the age.
    """

    years: float
    stated: str | None


def code(dataset: Dataset, keyword: str) -> str | None:
    r"""Give a coded string (PS3.5 section 6.2, CS), several of them joined by ``\``, as the file does.

    Returns:
        None if it is missing or empty, or anything else than a code: free text could name somebody.
    """
    value = "\\".join(_values(dataset, keyword))
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}(\\[A-Z0-9_ ]{1,16}){0,3}", value) else None


def age(dataset: Dataset) -> Age | None:
    """Give the patient's age: Patient's Age if it can be read, else the time from birth to study.

    A bare number, which some archives write, means years. Ages above 130 years and below 0 count as not stated.

    Returns:
        None where the file states none. The dates themselves are told to nobody.
    """
    stated = next(iter(_values(dataset, "PatientAge")), "").upper()
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


def _date(dataset: Dataset, keyword: str) -> date | None:
    """Read a date (PS3.5 section 6.2, DA), also in the form with dots that came before."""
    read = re.fullmatch(r"(\d{4})(\.?)(\d\d)\2(\d\d)", next(iter(_values(dataset, keyword)), ""))
    try:
        return date(int(read[1]), int(read[3]), int(read[4])) if read else None
    except ValueError:  # such as a 30th of February, or a year 0
        return None


def _values(dataset: Dataset, keyword: str) -> list[str]:
    """Give the values of an element as text, without the blanks around them; none where it is empty or missing."""
    value = dataset.get(keyword)
    values = value if hasattr(value, "append") else [value]
    return [text for each in values if each is not None and (text := str(each).strip())]
