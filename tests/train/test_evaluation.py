"""Calibrating and measuring: on the patients that were held out, whatever folder is given."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.errors import UsageError
from cxr_train.cli import app
from cxr_train.dataset import find_samples, patient_of
from cxr_train.runs import RunError, read_json, write_json
from cxr_train.split import Split


def cxr_train(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stderr


@pytest.fixture
def own(trained, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def held_out(own, kermany_copy):
    pool = find_samples(kermany_copy, ["train", "val"])
    return Split.read(own / "split.json").sides(pool).held_out


def test_calibrating_again_chooses_the_same(own, kermany):
    before = read_json(own / "calibration.json")
    (own / "calibration.json").unlink()
    cxr_train("calibrate", "--run", own, "--data", kermany)
    again = read_json(own / "calibration.json")
    assert again["calibration"]["scale"] == pytest.approx(before["calibration"]["scale"], rel=1e-4)
    assert again["calibration"]["chosen_on"] == before["calibration"]["chosen_on"]


def test_held_out_patients_stay_the_same_in_a_folder_with_one_patient_fewer_and_one_more(own, kermany_copy, held_out):
    gone = held_out[0]
    gone.path.unlink()
    folder = kermany_copy / "train" / "NORMAL"
    (folder / "IM-9999-0001.jpeg").write_bytes(min(folder.iterdir()).read_bytes() + b"\0")
    said = cxr_train("calibrate", "--run", own, "--data", kermany_copy)
    assert "left out: IM-9999-0001.jpeg" in " ".join(said.split())
    assert "the folder holds 3 of the 4 held-out patients" in " ".join(said.split())
    assert read_json(own / "calibration.json")["calibration"]["chosen_on"].startswith("3 radiographs of 3 held-out")
    measured = read_json(own / "metrics.json")["validation"]
    labels = [sample.label for sample in held_out if sample != gone]
    assert measured["images"] == {"NORMAL": labels.count(0), "PNEUMONIA": labels.count(1)}


def test_a_folder_without_held_out_patients_is_refused(own, kermany_copy, held_out):
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    for sample in held_out:
        sample.path.unlink()
    for label in ("NORMAL", "PNEUMONIA"):
        folder = kermany_copy / "val" / label
        (folder / f"{label}.jpeg").write_bytes(b"any")
    with pytest.raises(UsageError, match="holds none of the 4 patients that the training held out"):
        cxr_train("calibrate", "--run", own, "--data", kermany_copy)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_a_run_without_a_split_needs_the_folder_that_it_was_trained_on(own, kermany_copy):
    (own / "split.json").unlink()
    cxr_train("calibrate", "--run", own, "--data", kermany_copy)
    min((kermany_copy / "train" / "PNEUMONIA").iterdir()).unlink()
    with pytest.raises(UsageError, match="point --data at the folder that it was trained on"):
        cxr_train("calibrate", "--run", own, "--data", kermany_copy)


def test_a_run_is_measured_on_a_published_split(own, kermany):
    assert "learned from" not in cxr_train("evaluate", "--run", own, "--data", kermany, "--split", "test")
    measured = read_json(own / "metrics.json")
    assert measured["test"]["images"] == {"NORMAL": 4, "PNEUMONIA": 4}
    assert "validation" in measured
    assert {path.name for path in own.glob("*-test.png")} == {
        f"{name}-test.png" for name in ("roc", "precision-recall", "confusion", "reliability")
    }


def test_measuring_on_patients_that_were_learned_from_is_said(own, kermany_copy):
    learned = next(
        sample
        for sample in Split.read(own / "split.json").sides(find_samples(kermany_copy, ["train"])).learned
        if sample.label
    )
    patient = patient_of(learned.path.name)[0]
    (kermany_copy / "test" / "PNEUMONIA" / f"{patient}_7777.jpeg").write_bytes(learned.path.read_bytes() + b"\0")
    said = cxr_train("evaluate", "--run", own, "--data", kermany_copy, "--split", "test")
    assert "1 of 9 radiographs are of patients that the network learned from" in " ".join(said.split())


def test_no_run_folder_to_evaluate_is_said(kermany, tmp_path):
    with pytest.raises(RunError, match=r"run\.json, model\.keras missing"):
        cxr_train("evaluate", "--run", tmp_path, "--data", kermany)


def test_a_bundle_is_calibrated_on_its_own_held_out_patients(own, tiny_bundle, kermany_copy, held_out, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    shutil.copyfile(own / "split.json", folder / "split.json")
    write_manifest(folder, Bundle.open(tiny_bundle).manifest.to_json())
    out = tmp_path / "calibration.json"
    cxr_train("calibrate", "--bundle", folder, "--data", kermany_copy, "--out", out)
    chosen = json.loads(out.read_text())
    assert chosen["bundle"] == Bundle.open(folder).digest
    labels = [sample.label for sample in held_out]
    assert chosen["metrics"]["validation"]["images"] == {"NORMAL": labels.count(0), "PNEUMONIA": labels.count(1)}
    assert chosen["metrics"]["test"]["images"] == {"NORMAL": 4, "PNEUMONIA": 4}
    cxr_train("calibrate", "--bundle", folder, "--data", kermany_copy, "--out", out)  # its own file is replaced
    foreign = tmp_path / "precious.json"
    write_json(foreign, {"mine": 1})
    with pytest.raises(UsageError, match="no calibration"):
        cxr_train("calibrate", "--bundle", folder, "--data", kermany_copy, "--out", foreign)
    assert read_json(foreign) == {"mine": 1}


def test_a_bundle_that_states_neither_split_nor_seed_is_refused(tiny_bundle, kermany, tmp_path):
    with pytest.raises(UsageError, match="stores no split"):
        cxr_train("calibrate", "--bundle", tiny_bundle, "--data", kermany, "--out", tmp_path / "calibration.json")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folds(tmp_path_factory, kermany):
    """Two runs, each of which holds out the half of the patients that the other one learned from."""
    runs = []
    for number in (1, 2):
        out = tmp_path_factory.mktemp("folds") / str(number)
        small = ("--arch", "small-cnn", "--epochs", 1, "--fold", f"{number}/2")
        cxr_train("fit", "--data", kermany, "--out", out, *small)
        runs.append(out)
    return runs


def test_thresholds_come_from_all_training_patients_each_answered_by_the_network_that_did_not_know_it(
    own, folds, kermany
):
    pool = find_samples(kermany, ["train", "val"])
    sides = [{each.path for each in Split.read(run / "split.json").sides(pool).held_out} for run in folds]
    assert not sides[0] & sides[1]
    alone = read_json(own / "calibration.json")
    cxr_train("calibrate", "--run", own, "--data", kermany, "--folds", folds[0], "--folds", folds[1])
    chosen = read_json(own / "calibration.json")
    assert chosen["calibration"] == alone["calibration"]
    point = chosen["operating_points"]["points"][chosen["operating_points"]["default"]]
    assert point["chosen_on"].startswith(f"{len(sides[0] | sides[1])} radiographs of ")
    assert sum(point["guarantee"]["patients"].values()) == len({each.patient for each in pool})


def test_a_missing_or_a_foreign_fold_is_refused(own, folds, kermany):
    with pytest.raises(UsageError, match="one run of cxr-train fit --fold K/N for every K"):
        cxr_train("calibrate", "--run", own, "--data", kermany, "--folds", folds[0])
    with pytest.raises(UsageError, match="one run of cxr-train fit --fold K/N for every K"):
        cxr_train("calibrate", "--run", own, "--data", kermany, "--folds", folds[0], "--folds", own)


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "one", "1/"])
def test_a_fold_that_makes_no_sense_is_refused(kermany, tmp_path, text):
    with pytest.raises(UsageError, match="expected K/N"):
        cxr_train("fit", "--data", kermany, "--out", tmp_path / "run", "--fold", text)
    assert not (tmp_path / "run").exists()
