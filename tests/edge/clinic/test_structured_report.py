"""DICOM results: valid by an independent validator, in the right study, the same every time, and never an input."""

import shutil
import subprocess
import warnings
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.cli import app
from cxr_edge.errors import InputError

pytest.importorskip("highdicom", reason="needs the clinic extra")

import pydicom

from cxr_edge.clinic.results import build_results, write_results
from cxr_edge.clinic.study import SERIES_DESCRIPTION
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.record import RESEARCH_USE


@pytest.fixture(scope="module")
def dicom(radiographs):
    return radiographs / "nih_dx_chest.dcm"


@pytest.fixture(scope="module")
def answer(dicom):
    """Answered, because nobody asked the gate."""
    return cxr_edge.load(provider="cpu", gate=False).predict(dicom)


@pytest.fixture(scope="module")
def refused(dicom):
    return cxr_edge.load(provider="cpu").predict(dicom)


def changed(dicom, tmp_path, **values):
    """A copy of the sample with other values; None takes an element out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(dicom)
        for keyword, value in values.items():
            if value is None:
                found.pop(keyword, None)
            else:
                setattr(found, keyword, value)
        found.save_as(tmp_path / "changed.dcm")
    return tmp_path / "changed.dcm"


def structured_report(answer):
    return build_results(answer.radiograph.source.path, answer)[0]


def write_report(answer, folder):
    return write_results(answer.radiograph.source.path, answer, folder)[0]


def texts(report):
    """Every text and code of a report, whatever its depth."""
    for item in report.ContentSequence:
        if item.ValueType == "TEXT":
            yield item.TextValue
        elif item.ValueType == "CODE":
            yield item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "NUM":
            yield float(item.MeasuredValueSequence[0].NumericValue)
        if "ContentSequence" in item:
            yield from texts(item)


def unsure(answer):
    return replace(answer, prediction=replace(answer.prediction, label=UNSURE))


@pytest.mark.parametrize("kind", ["answered", "unsure", "refused"])
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian's dicom3tools)")
def test_an_independent_validator_finds_no_error(answer, refused, tmp_path, kind):
    asked = {"answered": answer, "unsure": unsure(answer), "refused": refused}[kind]
    path = write_report(asked, tmp_path / "out")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert "Comprehensive3DSR" in done.stderr
    assert "Error" not in done.stdout + done.stderr
    if shutil.which("dsrdump"):
        assert subprocess.run(["dsrdump", path], capture_output=True, check=False).returncode == 0


def test_the_report_says_what_the_answer_says(answer, refused):
    said = list(texts(structured_report(answer)))
    assert {"PNEUMONIA": "Pneumonia", "NORMAL": "Normal", UNSURE: "Undetermined"}[answer.label] in said
    assert round(answer.probability, 4) in said
    assert RESEARCH_USE in said
    assert set(answer.warnings) <= set(said)
    refusal = list(texts(structured_report(refused)))
    assert f"refused: {refused.refusal.scope}" in refusal
    assert not any(isinstance(each, float) for each in refusal)
    assert "Undetermined" in list(texts(structured_report(unsure(answer))))


def test_it_lies_in_the_study_of_the_radiograph_in_a_series_of_its_own(answer, dicom):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(dicom, stop_before_pixels=True)
    report = structured_report(answer)
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    assert report.PatientID == source.PatientID
    assert (report.SeriesDescription, report.VerificationFlag) == (SERIES_DESCRIPTION, "UNVERIFIED")
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (reference,) = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_same_answer_is_the_same_object_and_another_one_is_not(answer, refused, tmp_path):
    first, again, other = (write_report(each, tmp_path / "out") for each in (answer, answer, refused))
    assert first == again != other
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir() if path.name != ".cxr-edge") == [".dcm", ".dcm"]


def test_what_the_source_has_wrong_or_not_at_all_is_left_empty(dicom, tmp_path):
    path = changed(dicom, tmp_path, PatientBirthDate=None, PatientSex="X", IssuerOfPatientID="WARD", StudyTime=None)
    report = structured_report(cxr_edge.load(provider="cpu", gate=False).predict(path))
    assert report.PatientBirthDate in {"", None}
    assert report.PatientSex in {"", None}
    assert report.IssuerOfPatientID == "WARD"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_that_nothing_can_refer_to_gets_no_result_and_the_reason(dicom, tmp_path, keyword):
    path = changed(dicom, tmp_path, **{keyword: None})
    found = cxr_edge.load(provider="cpu", gate=False).predict(path)
    with pytest.raises(InputError, match=f"has no valid {keyword} "):
        structured_report(found)


def test_predict_writes_them_and_says_of_a_jpeg_that_it_has_none(dicom, radiographs, tmp_path):
    jpeg, out = radiographs / "person724_virus_1343.jpeg", tmp_path / "out"
    arguments = ["predict", str(dicom), str(jpeg), "--no-gate", "--dicom-out", str(out)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(list(out.glob("*.dcm"))) == 1
    assert f"no DICOM result: {jpeg}: no DICOM file" in done.stderr
    again = CliRunner().invoke(app, ["predict", str(out)], catch_exceptions=False)
    assert "PNEUMONIA" not in again.stdout
    assert "NORMAL" not in again.stdout
