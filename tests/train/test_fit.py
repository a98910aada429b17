import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from cxr_edge.errors import UsageError
from cxr_train.cli import app

FILES = {
    "model.keras",
    "run.json",
    "calibration.json",
    "metrics.json",
    "history.csv",
    "learning-curves.png",
    "roc-validation.png",
    "precision-recall-validation.png",
    "confusion-validation.png",
    "reliability-validation.png",
}


def fit(data, out, *options):
    return CliRunner().invoke(
        app, ["fit", "--data", str(data), "--out", str(out), "--arch", "small-cnn", *options], catch_exceptions=False
    )


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    data = request.path.parents[1] / "data"
    run = tmp_path_factory.mktemp("fit") / "run"
    assert fit(data / "kermany", run, "--masks", str(data / "lungmasks"), "--epochs", "2", "--seed", "4").exit_code == 0
    return run


def test_a_run_folder_is_complete(trained):
    assert {path.name for path in trained.iterdir()} == FILES
    settings = json.loads((trained / "run.json").read_text())
    assert settings["data"]["training"]["NORMAL"] + settings["data"]["validation"]["NORMAL"] == 10
    metrics = json.loads((trained / "metrics.json").read_text())["validation"]["metrics"]
    assert set(metrics) == {"auroc", "auprc", "recall", "specificity", "precision", "f1", "accuracy", "brier", "ece"}


def test_the_same_seed_gives_the_same_history(trained, kermany, lungmasks, tmp_path):
    fit(kermany, tmp_path / "again", "--masks", str(lungmasks), "--epochs", "2", "--seed", "4")
    fit(kermany, tmp_path / "other", "--masks", str(lungmasks), "--epochs", "2", "--seed", "5")
    for again, before in zip(history(tmp_path / "again"), history(trained), strict=True):
        assert again == pytest.approx(before, rel=1e-6)  # a sum over threads may differ in the last digit
    assert history(tmp_path / "other") != history(trained)


def test_a_killed_training_resumes_to_the_same_end(trained, kermany, lungmasks, tmp_path, monkeypatch):
    import cxr_train.fit as module

    save = module._save_state

    def die_after_saving(*arguments):
        save(*arguments)
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "_save_state", die_after_saving)
    options = ("--masks", str(lungmasks), "--epochs", "2", "--seed", "4")
    with pytest.raises(RuntimeError, match="killed"):
        fit(kermany, tmp_path / "run", *options)
    monkeypatch.setattr(module, "_save_state", save)
    assert len(history(tmp_path / "run")) == 1
    assert fit(kermany, tmp_path / "run", *options, "--resume").exit_code == 0
    for resumed, straight in zip(history(tmp_path / "run"), history(trained), strict=True):
        assert resumed == pytest.approx(straight, rel=1e-5)


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored


@pytest.mark.slow
def test_an_interrupted_training_leaves_a_usable_run(kermany, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", "from cxr_train.cli import main; main()", "fit", "--data", str(kermany)]
    options = ["--out", str(run), "--arch", "small-cnn", "--epochs", "100000"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    while not (run / "history.csv").is_file():
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in errors
    assert {path.name for path in run.iterdir()} >= FILES


def test_calibrating_again_chooses_the_same(trained, kermany):
    before = (trained / "calibration.json").read_bytes()
    (trained / "calibration.json").unlink()
    result = CliRunner().invoke(app, ["calibrate", "--run", str(trained), "--data", str(kermany)])
    assert result.exit_code == 0
    again, first = (json.loads(each) for each in ((trained / "calibration.json").read_bytes(), before))
    assert again["calibration"]["scale"] == pytest.approx(first["calibration"]["scale"], rel=1e-4)


def test_a_run_is_measured_on_a_published_split(trained, kermany):
    result = CliRunner().invoke(app, ["evaluate", "--run", str(trained), "--data", str(kermany), "--split", "test"])
    assert result.exit_code == 0
    measured = json.loads((trained / "metrics.json").read_text())
    assert measured["test"]["images"] == {"NORMAL": 4, "PNEUMONIA": 4}
    assert "validation" in measured
    for path in trained.glob("*-test.png"):
        path.unlink()


def test_a_taken_folder_needs_resume_or_force(trained, kermany, lungmasks):
    with pytest.raises(UsageError, match=r"--resume.*--force"):
        fit(kermany, trained)
    with pytest.raises(UsageError, match="begun with seed 4, not 9"):
        fit(kermany, trained, "--masks", str(lungmasks), "--resume", "--seed", "9", "--epochs", "2")


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


def test_no_run_folder_to_evaluate_is_said(kermany, tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "--run", str(tmp_path), "--data", str(kermany)])
    assert "run.json" in str(result.exception)


def test_the_published_parameter_counts():
    from cxr_train.network import MOBILENET_PARAMETERS, MOBILENET_TRAINABLE, build_network, freeze_through

    network = build_network("mobilenet")
    freeze_through(network)
    assert network.count_params() == MOBILENET_PARAMETERS
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == MOBILENET_TRAINABLE
    freeze_through(network, None)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) > MOBILENET_TRAINABLE


@pytest.fixture
def trainer():
    import keras

    from cxr_train.network import build_network
    from cxr_train.recipes import DEFAULT
    from cxr_train.trainer import Trainer

    keras.utils.set_random_seed(0)
    return Trainer(build_network("small-cnn"), replace(DEFAULT, batch_statistics=True, learning_rate=1e-3))


def test_each_loss_can_be_learned(trainer):
    from cxr_train.batches import Batch

    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 1], np.int32)
    pixels = rng.uniform(0, 255, (4, 224, 224)).astype(np.float32) * (0.3 + 0.7 * labels[:, None, None])
    lungs = np.zeros((4, 28, 28), np.float32)
    lungs[:, 6:22, 4:24] = 1
    steps = [trainer.step(Batch(pixels.astype(np.float32), labels, lungs)) for _ in range(25)]
    for name in ("cross_entropy", "segmentation", "attribution"):
        assert steps[-1][name] < 0.7 * steps[0][name], name


def test_logits_stay_centred_so_that_grad_cam_of_a_class_is_half_the_log_odds(trainer):
    from cxr_train.batches import Batch

    trainer.step(
        Batch(np.full((2, 224, 224), 90, np.float32), np.array([0, 1], np.int32), np.ones((2, 28, 28), np.float32))
    )
    for variable in trainer.network.get_layer("logits").get_weights():
        np.testing.assert_allclose(variable.sum(-1), 0, atol=1e-6)


def test_the_attribution_penalty_is_the_share_of_grad_cam_outside_the_lungs(trainer):
    import tensorflow as tf

    network = trainer.network
    rng = np.random.default_rng(0)
    features = tf.constant(rng.random((3, 14, 14, 256)), tf.float32)
    lungs = np.zeros((3, 28, 28), np.float32)
    lungs[:, :, :14] = 1
    lungs[2] = np.nan
    with tf.GradientTape() as tape:
        tape.watch(features)
        hidden = network.get_layer("hidden")(tf.reduce_mean(features, (1, 2)))
        logits = network.get_layer("logits")(hidden)
        odds = logits[:, 1] - logits[:, 0]
    cam = tf.einsum("bhwc,bc->bhw", features, tf.reduce_sum(tape.gradient(odds, features), (1, 2))).numpy()[:2]
    shares = [each[:, :, 7:].sum((1, 2)) / each.sum((1, 2)) for each in (np.maximum(cam, 0), np.abs(cam))]
    got = trainer._attribution_outside(features, hidden, tf.constant([1, 1, 1]), tf.constant(lungs))
    assert float(got) == pytest.approx(np.nanmean(shares[1]) / 2 + np.nan_to_num(shares[0]).mean() / 2, abs=1e-3)
