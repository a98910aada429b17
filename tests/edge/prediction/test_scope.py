import json

import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.bundle.manifest import Scope
from cxr_edge.prediction.gate import scope_warnings
from cxr_edge.reading.radiograph import Source
from dicoms import dataset, written
from tiny import manifest_values, write_tiny_bundle

CHILDREN = Scope(ages=[1, 5], views=["AP"], body_parts=["CHEST", "THORAX"])


def said(scope=CHILDREN, **facts):
    return scope_warnings(Source(None, "DICOM", 9, 9, 8, **facts), scope)


def test_what_is_in_scope_or_not_stated_is_not_warned_about():
    assert said() == ()
    assert said(modality="DX", body_part="CHEST", view_position="AP", patient_age_years=3.0) == ()
    assert said(modality="CR", body_part="PORT CHEST", view_position="AP_SUPINE", patient_age_years=5.92) == ()


@pytest.mark.parametrize("years", [0.92, 6.0, 34.0, 0.0])
def test_an_age_outside_is_named_with_tag_and_value(years):
    (warning,) = said(patient_age_years=years, patient_age_stated="034Y")
    assert warning == "PatientAge (0010,1010) is 034Y: the network was trained on children of 1 to 5 years."
    (warning,) = said(patient_age_years=years)
    assert warning.startswith(f"PatientBirthDate (0010,0030) and StudyDate (0008,0020) give an age of {years:g} years:")


def test_other_populations_are_named_as_theirs():
    (warning,) = said(Scope([18, 90], [], []), patient_age_years=3.0, patient_age_stated="003Y")
    assert warning.endswith("trained on patients of 18 to 90 years.")


@pytest.mark.parametrize("view", ["PA", "LL", "RL", "LATERAL", "OBLIQUE", "AP\\LL", "AP LAT", "UNKNOWN", "LLD"])
def test_every_view_but_those_of_the_training_is_named(view):
    assert said(view_position=view) == (f"ViewPosition (0018,5101) is {view}: the network was trained on AP views.",)


@pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "CHESTABDOMEN", "CHEST\\ABDOMEN", "RIB"])
def test_every_body_part_but_the_chest_is_named(part):
    assert said(body_part=part) == (
        f"BodyPartExamined (0018,0015) is {part}: the network was trained on CHEST or THORAX.",
    )


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "PX", "XA", "SR"])
def test_what_is_no_radiography_is_named(modality):
    assert said(modality=modality) == (f"Modality (0008,0060) is {modality}: the network was trained on radiographs.",)
    for radiography in ("CR", "DX", "RG", "OT"):
        assert said(modality=radiography) == ()


def test_a_bundle_without_a_scope_is_made_for_frontal_chests_of_any_age():
    assert said(None, body_part="CHEST", view_position="PA", patient_age_years=81.0) == ()
    warnings = said(None, modality="CT", body_part="HAND", view_position="LL", patient_age_years=81.0)
    assert [warning.split(":")[0] for warning in warnings] == [
        "Modality (0008,0060) is CT",
        "BodyPartExamined (0018,0015) is HAND",
        "ViewPosition (0018,5101) is LL",
    ]
    assert not any("trained" in warning for warning in warnings)


def test_an_empty_list_sets_no_limit():
    limits = Scope([], [], [])
    assert said(limits, body_part="HAND", view_position="LL", patient_age_years=81.0) == ()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The tiny bundle, as if it had been trained on children."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "children")
    write_manifest(folder, {**manifest_values(), "scope": CHILDREN.to_json()})
    return folder


def test_an_adult_of_a_real_archive_is_warned_about(bundle, radiographs):
    model = cxr_edge.load(bundle, provider="cpu")
    answer = model.predict(radiographs / "nih_dx_chest.dcm")
    assert answer.warnings == ("PatientAge (0010,1010) is 81: the network was trained on children of 1 to 5 years.",)
    assert answer.to_json()["warnings"] == list(answer.warnings)


def test_a_pa_view_and_a_computed_age_of_a_real_archive_are_warned_about(bundle, radiographs):
    answer = cxr_edge.load(bundle, provider="cpu").predict(radiographs.parent / "dicom" / "cr_chest_pa_jpeg2000.dcm")
    assert [warning.split(" ")[0] for warning in answer.warnings] == ["ViewPosition", "PatientBirthDate"]


def test_pictures_that_state_nothing_get_no_warning(bundle, radiographs):
    model = cxr_edge.load(bundle, provider="cpu")
    for path in (*sorted(radiographs.glob("*.jpeg")), *sorted(radiographs.glob("*.png"))):
        assert model.predict(path).warnings == ()


def test_a_child_of_the_right_age_gets_none(bundle):
    answer = cxr_edge.load(bundle, provider="cpu").predict(
        written(dataset(PatientAge="004Y", BodyPartExamined="CHEST", ViewPosition="AP"))
    )
    assert answer.warnings == ()


def test_every_way_out_carries_the_warning(bundle, radiographs, tmp_path, monkeypatch, capfd):
    from cxr_edge import cli

    path, out = radiographs / "nih_dx_chest.dcm", tmp_path / "out"
    warning = "PatientAge (0010,1010) is 81"

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["cxr-edge", *map(str, (*arguments, "--bundle", bundle, "--provider", "cpu"))])
        assert cli.run() == 0
        return capfd.readouterr()

    assert f"warning: {path}: {warning}" in run("predict", path).err
    assert warning in json.loads(run("predict", "--json", path).out)["warnings"][0]
    assert warning in run("explain", path, "--method", "gradcam", "--out", out).err
    assert warning in json.loads((out / path.stem / "explanation.json").read_text())["warnings"][0]
    run("scan", path, "--out", tmp_path / "scan")
    for name in ("results.jsonl", "results.csv", "report.html"):
        assert warning in (tmp_path / "scan" / name).read_text("utf-8")


def test_the_manifest_reads_its_scope_back(bundle):
    assert Bundle.open(bundle).manifest.scope == CHILDREN
