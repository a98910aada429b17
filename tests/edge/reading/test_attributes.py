import warnings

import pytest
from pydicom.dataset import Dataset

from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.dicom import Age, code, stated_age
from dicoms import dataset, parsed, written


def holding(**elements):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing nonsense is the point
        image = Dataset()
        for keyword, value in elements.items():
            setattr(image, keyword, value)
        return parsed(image)


@pytest.mark.parametrize(
    ("stated", "years"),
    [
        ("005Y", 5),
        ("5Y", 5),
        (" 034y", 34),
        ("3", 3),
        ("036M", 3),
        ("018M", 1.5),
        ("052W", 1),
        ("010D", 0.03),
        (["004Y", "081Y"], 4),
    ],
)
def test_patient_age_in_years(stated, years):
    found = stated_age(holding(PatientAge=stated))
    assert found.years == years
    assert found.stated in str(stated).upper()


@pytest.mark.parametrize("stated", ["", None, "five", "Y005", "-05Y", "005Y6", "999Y", "0034Y", "Mustermann", []])
def test_an_age_that_cannot_be_read_is_none(stated):
    assert stated_age(holding(PatientAge=stated)) is None


@pytest.mark.parametrize(
    ("birth", "study", "years"),
    [
        ("20200301", "20260301", 6),
        ("20200301", "20260228", 5),
        ("2020.03.01", "20210901", 1.5),
        ("20200301", "20200301", 0),
        ("20200301", "20200229", None),  # before birth
        ("18000301", "20200229", None),
        ("20200230", "20240301", None),
        ("00000000", "20240301", None),
        ("20200301", "", None),
        ("", "20240301", None),
        ("2020", "20240301", None),
        ("20200301-20200401", "20240301", None),
    ],
)
def test_birth_and_study_date_stand_in_for_the_age(birth, study, years):
    dates = holding(PatientBirthDate=birth, StudyDate=study)
    assert stated_age(dates) == (None if years is None else Age(years, None))


def test_a_readable_age_goes_before_the_dates_and_an_unreadable_one_does_not():
    dates = {"PatientBirthDate": "19900101", "StudyDate": "20240101"}
    assert stated_age(holding(PatientAge="004Y", **dates)) == Age(4, "004Y")
    assert stated_age(holding(PatientAge="unknown", **dates)) == Age(34, None)


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ("CHEST", "CHEST"),
        (" PA ", "PA"),
        (["AP", "LL"], "AP\\LL"),
        ("", None),
        (None, None),
        ("Chest", "CHEST"),
        ("hand", "HAND"),
        ("Upper Extremity", "UPPER EXTREMITY"),
        ("Mustermann", None),
        ("MUSTERMANN^ERIKA", None),
        (["AP", "Mustermann"], None),
        ("A" * 17, None),
    ],
)
def test_codes_are_read_and_anything_else_is_not(stated, read):
    assert code(holding(ViewPosition=stated), "ViewPosition") == read
    assert code(holding(), "ViewPosition") is None


def test_a_file_gives_away_an_age_but_no_date():
    source = read_radiograph(written(dataset(StudyDate="20240520", ViewPosition="AP"))).source
    assert (source.patient_age_years, source.patient_age_stated, source.view_position) == (5.0, None, "AP")
    assert "2019" not in str(source.to_json())
    assert "2024" not in str(source.to_json())
