"""What a DICOM result takes over from its radiograph: every valid value in any character set, and no other."""

import pydicom
import pytest

from cxr_edge.errors import InputError

pytest.importorskip("highdicom", reason="needs the clinic extra")

from clinical import changed
from cxr_edge.clinic.study import read_source


@pytest.fixture(scope="module")
def dicom(radiographs):
    return radiographs / "nih_dx_chest.dcm"


@pytest.mark.parametrize(
    ("keyword", "stated", "kept"),
    [
        ("PatientID", "4711-0815", "4711-0815"),
        ("PatientID", "4" * 64, "4" * 64),
        ("PatientID", "4" * 65, ""),
        ("PatientID", ["4711", "0815"], ""),
        ("PatientID", "47\n11", ""),
        ("PatientName", "M" * 65, ""),
        ("PatientName", "A^B^C^D^E^F", ""),
        ("PatientBirthDate", "20190431", ""),
        ("PatientBirthDate", "2019.04.01", "20190401"),
        ("PatientBirthDate", "00000000", ""),
        ("PatientSex", "m", "M"),
        ("PatientSex", "male", ""),
        ("PatientAge", "81", "081Y"),
        ("PatientAge", "018M", "018M"),
        ("PatientAge", "eighty", None),
        ("StudyDate", "20231399", ""),
        ("StudyTime", "12:30:59", "123059"),
        ("StudyTime", "2500", ""),
        ("StudyTime", "123059.123456", "123059.123456"),
        ("StudyID", "S" * 17, ""),
        ("AccessionNumber", "A" * 17, ""),
        ("IssuerOfPatientID", "WARD", "WARD"),
        ("IssuerOfPatientID", "W" * 65, None),
        ("TimezoneOffsetFromUTC", "+0100", "+0100"),
        ("TimezoneOffsetFromUTC", "CET", None),
    ],
)
def test_an_invalid_value_is_repaired_or_left_out(dicom, tmp_path, keyword, stated, kept):
    found = read_source(changed(dicom, tmp_path, **{keyword: stated})).values
    assert found.get(keyword) == kept


@pytest.mark.parametrize(
    ("character_set", "person"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Люксембург"),
        ("ISO_IR 166", "สมชาย"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_a_character_set_is_carried_over(dicom, tmp_path, character_set, person):
    path = changed(dicom, tmp_path, SpecificCharacterSet=character_set, PatientName=person)
    found = read_source(path)
    assert found.values["PatientName"] == person
    assert list(found.character_set) == ([character_set] if isinstance(character_set, str) else character_set)


@pytest.mark.parametrize(
    ("stated", "written", "person"),
    [
        (None, "Jérôme".encode(), "Jérôme"),  # UTF-8 that nobody states
        (None, "Jérôme^Al".encode("latin-1"), ""),  # it could be any of a dozen alphabets
        ("LATIN1", "Jérôme".encode(), "Jérôme"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Jérôme^Al".encode("latin-1"), "Jérôme^Al"),  # without its escape
        ("ISO_IR 192", "Jérôme^Al".encode("latin-1"), ""),
    ],
)
def test_bytes_of_no_stated_character_set_are_written_as_utf_8_or_not_at_all(dicom, tmp_path, stated, written, person):
    blank = "x" * len(written)
    path = changed(dicom, tmp_path, SpecificCharacterSet=stated, PatientName=blank, swap=(blank.encode(), written))
    found = read_source(path)
    assert found.values["PatientName"] == person
    assert found.character_set == ("ISO_IR 192",)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "1.2.03", "1" * 65, "name"])
def test_a_file_that_nothing_can_refer_to_is_named(dicom, tmp_path, keyword, value):
    path = changed(dicom, tmp_path, **{keyword: value})
    with pytest.raises(InputError, match=f"has no valid {keyword} ") as caught:
        read_source(path)
    assert (caught.value.kind, caught.value.path) == ("no-reference", path)


def test_a_picture_is_no_dicom_file(radiographs):
    with pytest.raises(InputError, match="no DICOM file"):
        read_source(radiographs / "person724_virus_1343.jpeg")


def test_times_are_those_of_the_radiograph(dicom, tmp_path):
    dated = changed(dicom, tmp_path, ContentDate="20250102", ContentTime="0304", StudyDate="20250101")
    assert (read_source(dated).date, read_source(dated).time) == ("20250102", "0304")
    of_study = changed(dicom, tmp_path, ContentDate="20231399", StudyDate="20250101", StudyTime="noon")
    assert (read_source(of_study).date, read_source(of_study).time) == ("20250101", "000000")
    assert read_source(dicom).date == "19000101"  # the sample states none


def test_bytes_are_read_as_the_file_is(dicom):
    path, data = read_source(dicom), read_source(dicom.read_bytes())
    assert (path.values, path.study) == (data.values, data.study)
    assert path.study == pydicom.dcmread(dicom, stop_before_pixels=True).StudyInstanceUID
