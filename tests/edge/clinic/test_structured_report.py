"""The report says what the answer says, in the study of its radiograph."""

from dataclasses import replace

import pytest

import cxr_edge

pytest.importorskip("highdicom", reason="needs the clinic extra")

from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage

from clinical import changed, texts
from cxr_edge.clinic.results import ResultOptions, build_results
from cxr_edge.files import SERIES_DESCRIPTION
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.record import RESEARCH_USE


@pytest.fixture(scope="module")
def dicom(radiographs):
    return radiographs / "nih_dx_chest.dcm"


@pytest.fixture(scope="module")
def explanation(dicom):
    """Answered, because nobody asked the gate."""
    return cxr_edge.load(provider="cpu", gate=False).explain(dicom, method="gradcam")


@pytest.fixture(scope="module")
def answer(explanation):
    return explanation.answer


@pytest.fixture(scope="module")
def refused(dicom):
    return cxr_edge.load(provider="cpu").predict(dicom)


def report_of(answer, **options):
    return build_results(answer.radiograph.source.path, answer, **options)[0]


def named(answer, label):
    return replace(answer, prediction=replace(answer.prediction, label=label))


@pytest.mark.parametrize(
    ("label", "meaning"), [("PNEUMONIA", "Pneumonia"), ("NORMAL", "Normal"), (UNSURE, "Undetermined"), ("ILL", "ILL")]
)
def test_it_states_label_probability_and_warnings(answer, label, meaning):
    said = list(texts(report_of(named(answer, label))))
    assert meaning in said
    assert round(answer.probability, 4) in said
    assert said[-2 - len(answer.warnings)] == RESEARCH_USE
    assert said[-1 - len(answer.warnings)].startswith(f"{label}: calibrated probability of PNEUMONIA")
    assert set(answer.warnings) <= set(said)


@pytest.mark.parametrize(("probability", "stated"), [(0.999999, 0.9999), (0.0, 0.0001), (0.31416, 0.3142)])
def test_no_probability_is_a_certainty(answer, probability, stated):
    asked = replace(answer, prediction=replace(answer.prediction, probability=probability))
    assert stated in list(texts(report_of(asked)))


def test_a_refusal_has_no_number_and_says_why(refused):
    report = report_of(refused)
    said = list(texts(report))
    assert f"refused: {refused.refusal.scope}" in said
    assert any(str(refused.refusal) in each for each in said if isinstance(each, str))
    assert not any(isinstance(each, float) for each in said)
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


def test_it_says_whether_anybody_asked_for_the_scope(answer, refused):
    assert "not asked" in list(texts(report_of(answer)))
    assert "outside" in list(texts(report_of(refused)))
    gated = replace(answer, prediction=replace(answer.prediction, gate_score=0.0, scope_score=-99.0))
    assert gated.refusal is None
    assert "in scope" in list(texts(report_of(gated)))


def test_the_ends_of_the_spread_are_measurements(dicom):
    answer = cxr_edge.load(provider="cpu", gate=False, test_time_augmentation=True).predict(dicom)
    said = list(texts(report_of(answer)))
    assert {round(answer.spread.lowest, 4), round(answer.spread.highest, 4)} <= set(said)


def test_the_evidence_in_the_lungs_is_a_measurement_and_a_sentence(answer, explanation):
    said = list(texts(report_of(answer, explanation=explanation)))
    assert round(explanation.evidence.saliency, 2) in said
    assert {explanation.evidence.place, explanation.evidence.sentence} <= set(said)
    assert f"{explanation.hidden[0].probability:.4f}" in next(
        each for each in said if str(each).startswith("Put to the test")
    )
    assert round(explanation.evidence.saliency, 2) not in list(texts(report_of(answer)))


def test_it_is_a_preliminary_document_in_the_study_of_the_radiograph(answer, dicom):
    source, report = dcmread(dicom, stop_before_pixels=True), report_of(answer)
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    assert report.PatientID == source.PatientID
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert (report.PreliminaryFlag, report.SeriesDescription) == ("PRELIMINARY", SERIES_DESCRIPTION)
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_bundle_is_the_only_contributing_equipment_and_the_observer(answer):
    report = report_of(answer)
    (equipment,) = report.ContributingEquipmentSequence
    assert equipment.Manufacturer == report.Manufacturer == "cxr-edge"
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert answer.bundle.digest in equipment.ContributionDescription
    observers = [item.UID for item in report.ContentSequence if item.ValueType == "UIDREF"]
    assert observers == [equipment.DeviceUID]


def test_gaps_of_the_source_are_empty_and_an_optional_value_that_is_wrong_is_absent(dicom, tmp_path):
    values = {"PatientBirthDate": None, "PatientSex": "X", "StudyTime": None, "PatientAge": "old", "StudyID": None}
    path = changed(dicom, tmp_path, **values, IssuerOfPatientID="WARD")
    report = report_of(cxr_edge.load(provider="cpu", gate=False).predict(path))
    assert {report[each].value for each in ("PatientBirthDate", "PatientSex", "StudyTime", "StudyID")} <= {"", None}
    assert report.IssuerOfPatientID == "WARD"
    assert "PatientAge" not in report


def test_an_archive_that_knows_no_3d_reports_gets_an_enhanced_one_of_the_same_content(answer):
    plain, enhanced = report_of(answer), report_of(answer, options=ResultOptions(report="enhanced"))
    assert (plain.SOPClassUID, enhanced.SOPClassUID) == (Comprehensive3DSRStorage, EnhancedSRStorage)
    assert plain.SOPInstanceUID != enhanced.SOPInstanceUID
    assert list(texts(plain)) == list(texts(enhanced))
