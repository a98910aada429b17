"""Run folders: what may be written into, what is deleted, what is said about a folder that is none."""

import json
import os

import pytest

from cxr_edge.errors import UsageError
from cxr_train import runs
from cxr_train.runs import Run, RunError, begin, check_claim, read_json, write_json
from cxr_train.split import Split

RECORD = {"arch": "small-cnn", "seed": 4, "recipe": {"epochs": 2}}
SPLIT = Split(4, frozenset({"a"}), frozenset({"b"}))


@pytest.fixture
def run(tmp_path):
    begin(tmp_path / "run", RECORD, SPLIT)
    return tmp_path / "run"


def test_a_new_folder_is_claimed_and_nothing_is_made(tmp_path):
    assert not check_claim(tmp_path / "a" / "b", RECORD, resume=False, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_needs_resume_or_force(run):
    with pytest.raises(UsageError, match=r"--resume.*--force"):
        check_claim(run, RECORD, resume=False, force=False)
    assert check_claim(run, RECORD, resume=False, force=True)
    assert check_claim(run, RECORD, resume=True, force=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"seed": 9}, "begun with seed 4, not 9"), ({"recipe": {"epochs": 3}}, r"recipe\.epochs 2, not 3")],
)
def test_a_run_is_resumed_as_it_was_begun(run, changed, message):
    with pytest.raises(UsageError, match=message):
        check_claim(run, {**RECORD, **changed}, resume=True, force=False)


@pytest.mark.parametrize("name", ["model.keras", "metrics.json", "run.json", "history.csv"])
def test_a_file_of_somebody_else_is_neither_overwritten_nor_deleted(tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}')
    for resume, force in ((False, False), (False, True), (True, False)):
        with pytest.raises(UsageError, match=f"its {name} belongs to no run"):
            check_claim(tmp_path, RECORD, resume=resume, force=force)
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_file_as_folder_and_a_folder_without_permission_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        check_claim(tmp_path / "file", RECORD, resume=False, force=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written"):
        check_claim(tmp_path / "new", RECORD, resume=False, force=False)


def test_beginning_anew_deletes_what_a_run_wrote_and_no_more(run):
    written = (
        "model.keras",
        "calibration.json",
        "roc-test.png",
        "state.weights.h5",
        "state.npz",
        "partial-model.keras",
    )
    for name in (*written, "notes.txt", "model.keras.backup"):
        (run / name).touch()
    target = run.parent / "elsewhere.csv"
    target.write_text("mine")
    (run / "history.csv").symlink_to(target)
    begin(run, {**RECORD, "seed": 5}, SPLIT)
    assert {path.name for path in run.iterdir()} == {
        ".cxr-edge",
        "run.json",
        "split.json",
        "notes.txt",
        "model.keras.backup",
    }
    record = read_json(run / "run.json")
    assert (record["schema"], record["seed"]) == (1, 5)
    assert record["command"].split()[0] == "cxr-train"
    assert {"keras", "tensorflow", "scikit-learn"} < record["tools"].keys()
    assert target.read_text() == "mine"


def test_a_run_states_its_split(run):
    (run / "model.keras").touch()
    assert Run.open(run).split == SPLIT
    (run / "split.json").unlink()
    assert Run.open(run).split is None


def test_what_is_missing_or_damaged_is_named(run, tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"model\.keras missing.*cxr-train fit"):
        Run.open(run)
    (run / "model.keras").write_bytes(b"no archive")
    opened = Run.open(run)
    with pytest.raises(RunError, match=r"model\.keras: Keras cannot load it"):
        _ = opened.network
    for name in ("calibration", "metrics"):
        with pytest.raises(RunError, match=rf"{name}\.json missing.*cxr-train fit.*--resume"):
            getattr(opened, name)
    (run / "calibration.json").write_text(json.dumps({"scale": 1}))
    with pytest.raises(RunError, match="expected calibration and operating_points"):
        _ = opened.calibration
    (run / "calibration.json").write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        _ = opened.calibration


def test_the_data_folder_comes_from_the_training_command_unless_given(run, tmp_path):
    (run / "model.keras").touch()
    opened = Run(run, {"command": f"cxr-train fit --data '{tmp_path}' --seed 4"})
    assert opened.data_folder(None) == tmp_path
    assert opened.data_folder(run) == run
    with pytest.raises(RunError, match="--data DIR"):
        opened.data_folder(tmp_path / "gone")
    with pytest.raises(RunError, match="--data DIR"):
        Run(run, {}).data_folder(None)


def test_a_figure_that_is_no_number_is_written_and_read_as_null(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": [float("nan"), (1.5, float("inf"))], "b": {"c": "NaN"}})
    assert json.loads(path.read_text()) == {"a": [None, [1.5, None]], "b": {"c": "NaN"}}
    path.write_text('{"auroc": NaN}')  # as earlier versions wrote it
    assert read_json(path) == {"auroc": None}


def test_what_is_saved_is_saved_whole(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        runs.save_whole(fail, path)
    assert path.read_text() == "old"
