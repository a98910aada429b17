"""DICOM results as files: valid by independent tools, the same every time, and never an input."""

import os
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.cli import app
from cxr_edge.errors import InputError

pytest.importorskip("highdicom", reason="needs the clinic extra")

import pydicom

from clinical import GIVEN, changed, errors
from cxr_edge.clinic.results import ResultOptions, build_results, write_results
from cxr_edge.explanation import LimeOptions
from cxr_edge.results.decision import UNSURE

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("CXR_EDGE_DATA", ROOT.parent / "shared" / "data"))
CASES = Path(os.environ.get("CXR_EDGE_CASES", ROOT.parent / "shared" / "cases"))
SAMPLES = sorted(ROOT.glob("tests/data/**/*.dcm"))
MORE = sorted([*DATA.glob("dicom/*.dcm"), *CASES.glob("*.dcm")]) or [
    pytest.param(Path("none"), marks=pytest.mark.skip(f"no DICOM files in {DATA} and {CASES}"))
]
ALL = ResultOptions(gsps=True)
ENHANCED = ResultOptions(report="enhanced")
tools = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian's dicom3tools)")


@pytest.fixture(scope="module")
def dicom(radiographs):
    return radiographs / "nih_dx_chest.dcm"


@pytest.fixture(scope="module")
def model():
    """Answers everything, because nobody asks the gate."""
    return cxr_edge.load(provider="cpu", gate=False)


@pytest.fixture(scope="module")
def strict():
    return cxr_edge.load(provider="cpu")


@pytest.fixture(scope="module")
def explanation(model, dicom):
    return model.explain(dicom, method="gradcam")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.dcm")}


def other(explanation, **values):
    """The same explanation of a prediction that differs in something."""
    answer = explanation.answer
    return replace(explanation, answer=replace(answer, prediction=replace(answer.prediction, **values)))


@tools
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_independent_tools_find_no_error_in_any_object_of_a_sample(model, strict, tmp_path, path):
    explanation = model.explain(path, method="both", lime=LimeOptions(samples=64))
    unsure = other(explanation, label=UNSURE)
    written = [
        *write_results(path, explanation.answer, tmp_path / "1", explanation=explanation, options=ALL),
        *write_results(path, unsure.answer, tmp_path / "2", explanation=unsure, options=ENHANCED),
        *write_results(path, strict.predict(path), tmp_path / "3"),
    ]
    assert len(written) == 6
    assert {each.name: errors(each) for each in written if errors(each)} == {}


@tools
@pytest.mark.parametrize("path", MORE, ids=lambda path: path.stem)
def test_independent_tools_find_no_error_in_what_comes_of_strange_files(model, tmp_path, path):
    stated = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    path = changed(path, tmp_path, **{keyword: value for keyword, value in GIVEN.items() if keyword not in stated})
    try:
        explanation = model.explain(path, method="gradcam")
    except InputError:
        pytest.skip("cannot be answered")
    written = write_results(path, explanation.answer, tmp_path / "out", explanation=explanation, options=ALL)
    assert {each.name: errors(each) for each in written if errors(each)} == {}


@tools
def test_independent_tools_find_no_error_where_all_values_of_the_source_are_wrong(model, dicom, tmp_path):
    wrong = {
        "PatientID": "4" * 70,
        "PatientBirthDate": "20231399",
        "PatientSex": "male",
        "PatientAge": "81",
        "StudyDate": "yesterday",
        "StudyTime": "99:99",
        "StudyID": "S" * 20,
        "AccessionNumber": "A" * 20,
        "ReferringPhysicianName": "^" * 9,
        "SpecificCharacterSet": "LATIN1",
        "IssuerOfPatientID": "W" * 70,
    }
    path = changed(dicom, tmp_path, PatientName="x" * 7, swap=(b"x" * 7, "Müller".encode()), **wrong)
    explanation = model.explain(path, method="gradcam")
    written = write_results(path, explanation.answer, tmp_path / "out", explanation=explanation, options=ALL)
    assert {each.name: errors(each) for each in written if errors(each)} == {}


def test_another_moment_machine_name_and_last_digit_give_the_same_bytes(dicom, explanation, tmp_path):
    prediction = explanation.answer.prediction
    again = other(
        explanation, provider="openvino", probability=prediction.probability + 1e-6, logodds=prediction.logodds + 1e-5
    )
    moved = shutil.copy(dicom, tmp_path / "renamed.dcm")
    write_results(dicom, explanation.answer, tmp_path / "1", explanation=explanation, options=ALL)
    write_results(Path(moved), again.answer, tmp_path / "2", explanation=again, options=ALL)
    assert len(contents(tmp_path / "1")) == 3
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize(
    "asked",
    [
        {"operating_point": "another"},
        {"threshold": 0.25},
        {"certain_from": 0.999},
        {"precision": "int8"},
        {"gate_score": 1.0},
    ],
    ids=str,
)
def test_what_is_asked_in_another_way_is_another_object(dicom, explanation, asked):
    first = build_results(dicom, explanation.answer, explanation=explanation, options=ALL)
    second = build_results(dicom, other(explanation, **asked).answer, explanation=explanation, options=ALL)
    assert not {each.SOPInstanceUID for each in first} & {each.SOPInstanceUID for each in second}


def test_uids_depend_on_the_radiograph_and_the_bundle_and_on_what_explains(
    dicom, explanation, model, tiny_bundle, tmp_path
):
    elsewhere = changed(dicom, tmp_path, SOPInstanceUID="1.2.826.0.1.7.3")
    small = cxr_edge.load(tiny_bundle, provider="cpu").predict(dicom)
    answer = explanation.answer
    reports = [
        build_results(dicom, answer)[0],
        build_results(elsewhere, answer)[0],
        build_results(dicom, small)[0],
        build_results(dicom, answer, explanation=explanation)[0],
        build_results(dicom, answer, explanation=model.explain(dicom, method="gradcam", cam="hirescam"))[0],
        build_results(dicom, answer, explanation=model.explain(dicom, method="gradcam", target="NORMAL"))[0],
    ]
    assert len({each.SOPInstanceUID for each in reports}) == len(reports)
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", each.SOPInstanceUID) for each in reports)


def test_there_is_one_series_of_each_kind_in_a_study_and_each_object_has_its_number(dicom, explanation, tmp_path):
    second = changed(dicom, tmp_path, SOPInstanceUID="1.2.826.0.1.7.3", SeriesInstanceUID="1.2.826.0.1.7.4")
    results = [
        each
        for path in (dicom, second)
        for each in build_results(path, explanation.answer, explanation=explanation, options=ALL)
    ]
    series = {(each.Modality, each.SeriesNumber, each.SeriesInstanceUID) for each in results}
    assert sorted((modality, number) for modality, number, _ in series) == [("OT", 9902), ("PR", 9903), ("SR", 9901)]
    assert len({each.InstanceNumber for each in results}) == len(results)


def test_a_file_that_is_there_stays_and_nothing_half_written_does(dicom, explanation, tmp_path, monkeypatch):
    (path,) = write_results(dicom, explanation.answer, tmp_path / "out")
    path.write_bytes(b"sent and marked by somebody")
    assert write_results(dicom, explanation.answer, tmp_path / "out") == [path]
    assert path.read_bytes() == b"sent and marked by somebody"
    path.unlink()
    monkeypatch.setattr("cxr_edge.files.os.fsync", _full)
    with pytest.raises(cxr_edge.errors.OutputError, match="No space left"):
        write_results(dicom, explanation.answer, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == [".cxr-edge"]


def _full(_descriptor):
    raise OSError(28, "No space left on device")


# ---- never an input


@pytest.mark.parametrize("forget", [(), ("Manufacturer",), ("ContributingEquipmentSequence", "Manufacturer")], ids=str)
def test_a_result_is_never_answered_whatever_an_archive_made_of_it(dicom, explanation, tmp_path, forget, model):
    results = build_results(dicom, explanation.answer, explanation=explanation, options=ALL)
    folder = tmp_path / "from the archive"
    folder.mkdir()
    for number, result in enumerate(results):
        for keyword in forget:
            delattr(result, keyword)
        del result.file_meta
        pydicom.dcmwrite(folder / f"{number}", result, implicit_vr=True, little_endian=True)
        with pytest.raises(InputError) as caught:
            model.predict((folder / f"{number}").read_bytes())
        assert caught.value.kind == "own-output"
    shutil.copy(dicom, folder / "radiograph.dcm")
    run = ["predict", str(folder), "--json"]
    done = CliRunner().invoke(app, run, catch_exceptions=False)
    assert done.stdout.count("\n") == 1
    assert "3 own output" in done.stderr
    run = ["scan", str(folder), "--out", str(tmp_path / "out"), "--formats", "jsonl"]
    done = CliRunner().invoke(app, run, catch_exceptions=False)
    assert done.stdout.startswith("1 inputs")
    assert "own output 3" in done.stdout
    named = CliRunner().invoke(app, ["predict", str(folder / "1")], catch_exceptions=False)
    assert named.exit_code == 3
    assert "own-output" in named.stdout


def test_a_radiograph_that_mentions_this_program_is_answered(dicom, tmp_path, model):
    path = changed(dicom, tmp_path, StudyDescription="cxr-edge", PatientName="cxr-edge", InstitutionName="cxr-edge")
    assert model.predict(path).label
    done = CliRunner().invoke(app, ["predict", str(tmp_path), "--json", "--no-gate"], catch_exceptions=False)
    assert (done.exit_code, done.stdout.count("\n")) == (0, 1)


# ---- the commands


def test_predict_writes_reports_and_says_of_a_jpeg_nothing_worse_than_that(dicom, radiographs, tmp_path):
    jpeg, out = radiographs / "person724_virus_1343.jpeg", tmp_path / "out"
    arguments = ["predict", str(dicom), str(jpeg), "--no-gate", "--dicom-out", str(out)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(contents(out)) == 1
    assert f"no DICOM result: {jpeg}: no DICOM file" in done.stderr


def test_explain_writes_the_figure_and_the_lines_too(dicom, tmp_path):
    arguments = ["explain", str(dicom), "--no-gate", "--method", "gradcam", "--out", str(tmp_path / "explained")]
    more = ["--dicom-out", str(tmp_path / "out"), "--sr", "enhanced", "--gsps"]
    done = CliRunner().invoke(app, arguments + more, catch_exceptions=False)
    assert done.exit_code == 0
    kinds = {pydicom.dcmread(each).SOPClassUID.name for each in (tmp_path / "out").glob("*.dcm")}
    assert kinds == {
        *("Enhanced SR Storage", "Secondary Capture Image Storage", "Grayscale Softcopy Presentation State Storage")
    }


def test_explain_writes_the_report_of_a_refusal(dicom, tmp_path):
    arguments = ["explain", str(dicom), "--out", str(tmp_path / "explained"), "--dicom-out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 3
    assert [pydicom.dcmread(each).CompletionFlag for each in (tmp_path / "out").glob("*.dcm")] == ["PARTIAL"]


def test_a_bundle_of_any_name_is_described_in_ascii(dicom, explanation, tmp_path):
    answer = explanation.answer
    labels = {"labels": ("GESUND", "ENTZÜNDUNG"), "positive": "ENTZÜNDUNG"}
    manifest = msgspec.structs.replace(answer.bundle.manifest, name="Lungenentzündung " * 9, version="ß", **labels)
    bundle = replace(answer.bundle, manifest=manifest)
    named = replace(answer, bundle=bundle, prediction=replace(answer.prediction, label="ENTZÜNDUNG"))
    explained = replace(explanation, answer=named, target="ENTZÜNDUNG")
    for result in build_results(dicom, named, explanation=explained, options=ALL):
        pydicom.dcmwrite(tmp_path / "result.dcm", result, enforce_file_format=True)
        assert errors(tmp_path / "result.dcm") == []


@pytest.mark.parametrize("option", [["--sr", "enhanced"], ["--gsps"]], ids=str)
def test_what_dicom_out_writes_needs_dicom_out(dicom, tmp_path, option):
    done = CliRunner().invoke(app, ["explain", str(dicom), "--out", str(tmp_path), *option])
    assert "add --dicom-out" in str(done.exception or done.stderr)
    assert done.exit_code != 0


@pytest.fixture
def inputs(dicom, radiographs, tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    shutil.copy(dicom, folder / "a.dcm")
    shutil.copy(radiographs / "person724_virus_1343.jpeg", folder)
    return folder


def scan(inputs, tmp_path, *more, exit_code=0):
    arguments = ["scan", str(inputs), "--out", str(tmp_path / "scan"), "--formats", "jsonl", "--no-gate", *more]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return done


def test_scan_writes_results_also_of_what_was_answered_before_and_not_again_once_they_are_sent(inputs, tmp_path):
    out = tmp_path / "out"
    scan(inputs, tmp_path)
    scan(inputs, tmp_path, "--dicom-out", str(out))
    first = contents(out)
    assert len(first) == 1
    shutil.rmtree(out)
    shutil.rmtree(tmp_path / "scan")
    scan(inputs, tmp_path, "--dicom-out", str(out))
    assert contents(out) == first
    for each in out.glob("*.dcm"):
        each.unlink()
    scan(inputs, tmp_path, "--dicom-out", str(out))
    assert contents(out) == {}
    scan(inputs, tmp_path, "--dicom-out", str(out), "--sr", "enhanced")
    assert len(contents(out)) == 1


def test_scan_draws_what_it_explains(inputs, tmp_path):
    scan(
        inputs, tmp_path, "--explain", "gradcam", "--explain-if", "all", "--dicom-out", str(tmp_path / "out"), "--gsps"
    )
    kinds = sorted(pydicom.dcmread(each).Modality for each in (tmp_path / "out").glob("*.dcm"))
    assert kinds == ["OT", "PR", "SR"]


def test_scan_names_what_has_an_answer_and_no_result(inputs, tmp_path):
    changed(inputs / "a.dcm", inputs, StudyInstanceUID=None)
    (inputs / "a.dcm").unlink()
    for _ in range(2):  # and again when it goes on
        done = scan(inputs, tmp_path, "--dicom-out", str(tmp_path / "out"), exit_code=3)
        assert done.stderr.count("no DICOM result") == 1
        assert "has no valid StudyInstanceUID" in done.stderr
    assert '"status": "ok"' in (tmp_path / "scan" / "results.jsonl").read_text()


def test_refused_and_unsure_radiographs_have_results_of_a_scan_too(inputs, tmp_path):
    arguments = ["scan", str(inputs), "--out", str(tmp_path / "scan"), "--formats", "jsonl"]
    done = CliRunner().invoke(app, [*arguments, "--dicom-out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 3
    (path,) = (tmp_path / "out").glob("*.dcm")
    assert pydicom.dcmread(path).CompletionFlag == "PARTIAL"


def test_no_value_of_a_source_gets_into_a_message(dicom, tmp_path):
    path = changed(dicom, tmp_path, PatientName="Mustermann^Erika", StudyInstanceUID="Mustermann")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = CliRunner().invoke(app, ["predict", str(path), "--dicom-out", str(tmp_path / "out")])
    assert "no valid StudyInstanceUID" in done.stderr
    assert "Mustermann" not in done.output + "".join(str(each.message) for each in caught)
