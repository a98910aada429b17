"""A training from the command line: complete, repeatable, resumed exactly, and careful with what lies in its folder."""

import csv
import json
import shutil
import signal

import pytest
from typer.testing import CliRunner

from cxr_edge.errors import UsageError
from cxr_train import fit as fitting
from cxr_train import training
from cxr_train.cli import app

FILES = {
    ".cxr-edge",
    "model.keras",
    "run.json",
    "split.json",
    "calibration.json",
    "metrics.json",
    "history.csv",
    "learning-curves.png",
    "roc-validation.png",
    "precision-recall-validation.png",
    "confusion-validation.png",
    "reliability-validation.png",
}
SEED = ("--epochs", "2", "--seed", "4")


def fit(data, out, *options):
    arguments = ["fit", "--data", str(data), "--out", str(out), "--arch", "small-cnn", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def own(trained, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(trained, tmp_path / "own")


def test_a_run_folder_is_complete(trained):
    assert {path.name for path in trained.iterdir()} == FILES
    settings = json.loads((trained / "run.json").read_text())
    assert settings["data"]["training"]["NORMAL"] + settings["data"]["validation"]["NORMAL"] == 10
    metrics = json.loads((trained / "metrics.json").read_text())["validation"]["metrics"]
    assert set(metrics) == {"auroc", "auprc", "recall", "specificity", "precision", "f1", "accuracy", "brier", "ece"}
    split = json.loads((trained / "split.json").read_text())
    assert (split["seed"], len(split["learned"]), len(split["held_out"])) == (4, 15, 4)


class Killed(BaseException):
    pass


def kill(*_arguments, **_options):
    raise Killed


def test_a_run_that_was_killed_while_calibrating_is_only_calibrated(trained, own, kermany, lungmasks, monkeypatch):
    (own / "state.weights.h5").touch()
    for name in ("calibration.json", "metrics.json", "learning-curves.png"):
        (own / name).unlink()
    with (own / "history.csv").open("a") as file:
        file.write("3,0.5,")  # half a row
    monkeypatch.setattr(training, "build_network", kill)
    assert fit(kermany, own, "--masks", str(lungmasks), *SEED, "--resume").exit_code == 0
    assert {path.name for path in own.iterdir()} == FILES
    for name in ("model.keras", "calibration.json", "run.json", "split.json"):
        assert (own / name).read_bytes() == (trained / name).read_bytes()


def test_an_interrupted_training_leaves_a_usable_run_and_resumes_to_the_same_end(
    trained, kermany, lungmasks, tmp_path, monkeypatch
):
    run, options = tmp_path / "run", ("--masks", str(lungmasks), *SEED)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fitting.Report, "on_epoch_end", lambda *_: signal.raise_signal(signal.SIGINT))
            stopped = fit(kermany, run, *options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.exit_code == 130
    assert "--resume goes on" in stopped.stderr
    assert {path.name for path in run.iterdir()} == FILES | {"state.weights.h5"}
    assert len(history(run)) == 1
    assert fit(kermany, run, *options, "--resume").exit_code == 0
    assert {path.name for path in run.iterdir()} == FILES
    for resumed, straight in zip(history(run), history(trained), strict=True):
        assert resumed == pytest.approx(straight, rel=1e-5)  # a sum over threads may differ in the last digit
    calibrations = [json.loads((each / "calibration.json").read_text())["calibration"] for each in (run, trained)]
    assert calibrations[0]["scale"] == pytest.approx(calibrations[1]["scale"], rel=1e-3)


def test_resuming_a_finished_run_changes_nothing_and_says_so(own, kermany, lungmasks):
    before = content(own)
    done = fit(kermany, own, "--masks", str(lungmasks), *SEED, "--resume")
    assert done.exit_code == 0
    assert "is finished" in " ".join(done.stderr.split())
    assert content(own) == before


def test_resuming_with_other_patients_is_refused(own, kermany_copy, lungmasks):
    (own / "state.weights.h5").touch()  # not finished
    before = content(own)
    min((kermany_copy / "train" / "NORMAL").iterdir()).unlink()
    with pytest.raises(UsageError, match="other patients"):
        fit(kermany_copy, own, "--masks", str(lungmasks), *SEED, "--resume")
    assert content(own) == before


def test_a_state_of_an_earlier_version_is_not_overwritten(own, kermany, lungmasks):
    (own / "state.npz").touch()
    before = content(own)
    with pytest.raises(UsageError, match="earlier version"):
        fit(kermany, own, "--masks", str(lungmasks), *SEED, "--resume")
    assert content(own) == before


@pytest.mark.parametrize(
    "wrong",
    [
        ["--data", "nowhere"],
        ["--masks", "nowhere"],
        ["--recipe", "secret"],
        ["--arch", "mobilenet", "--weights", "nowhere.h5"],
        ["--arch", "vgg"],
    ],
    ids=lambda words: words[0],
)
def test_force_deletes_nothing_when_an_input_is_mistyped(own, kermany, lungmasks, wrong):
    before = content(own)
    with pytest.raises(UsageError):
        fit(kermany, own, "--masks", str(lungmasks), *SEED, "--force", *wrong)
    assert content(own) == before


def test_force_replaces_the_run_and_leaves_what_others_put_beside_it(own, kermany):
    (own / "notes.txt").write_text("mine")
    (own / "roc-test.png").touch()
    (own / "more").mkdir()
    assert fit(kermany, own, "--epochs", "1", "--force").exit_code == 0
    assert {path.name for path in own.iterdir()} == {*FILES, "notes.txt", "more"}
    assert (own / "notes.txt").read_text() == "mine"
    assert len(history(own)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "secret"], "unknown recipe"),
        (["--arch", "vgg"], "unknown architecture"),
        (["--weights", "nowhere.h5"], "trained from scratch"),
    ],
)
def test_wrong_options_say_what_there_is(kermany, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        fit(kermany, tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()
