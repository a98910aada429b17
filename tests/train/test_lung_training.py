"""The lung segmenter's training: a run folder with its Dice, the same for the same seed."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from cxr_edge.errors import UsageError
from cxr_train.cli import app
from cxr_train.lungs import build_lung_network, lung_loss, outline
from cxr_train.metrics import dice


def lungs(data, masks, out, *options):
    arguments = ["lungs", "--data", str(data), "--masks", str(masks), "--out", str(out), "--epochs", "2", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    data = request.path.parents[1] / "data"
    run = tmp_path_factory.mktemp("lungs") / "run"
    done = lungs(data / "kermany", data / "lungmasks", run)
    assert done.exit_code == 0
    assert done.output.count("held-out Dice") == 2
    return run


def test_a_run_folder_is_complete(trained):
    assert {path.name for path in trained.iterdir()} == {
        ".cxr-edge",
        "model.keras",
        "run.json",
        "split.json",
        "metrics.json",
    }
    record = json.loads((trained / "run.json").read_text())
    assert record["arch"] == "lung_segmenter"
    held_out = json.loads((trained / "metrics.json").read_text())["validation"]
    assert held_out["all"]["images"] == sum(record["data"]["validation"][label] for label in ("NORMAL", "PNEUMONIA"))
    for each in held_out.values():
        assert 0 <= each["dice"]["low"] <= each["dice"]["value"] <= each["dice"]["high"] <= 1


def test_the_same_seed_gives_the_same_dice(trained, kermany, lungmasks, tmp_path):
    lungs(kermany, lungmasks, tmp_path / "again")
    before, again = (json.loads((run / "metrics.json").read_text()) for run in (trained, tmp_path / "again"))
    assert again["validation"]["all"]["dice"]["value"] == pytest.approx(
        before["validation"]["all"]["dice"]["value"], abs=1e-3
    )


def test_a_run_that_is_there_is_kept_and_force_deletes_nothing_when_an_input_is_mistyped(
    trained, kermany, lungmasks, tmp_path
):
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    with pytest.raises(UsageError, match="--force"):
        lungs(kermany, lungmasks, trained)
    with pytest.raises(UsageError, match="no such folder"):
        lungs(tmp_path / "nowhere", lungmasks, trained, "--force")
    with pytest.raises(UsageError, match="no mask matches"):
        lungs(kermany, tmp_path, trained, "--force")
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_dice_leaves_unknown_pixels_out():
    masks = np.full((1, 8, 8), 127, np.uint8)
    masks[0, :2], masks[0, 2:4] = 255, 0
    found = np.ones((1, 8, 8), bool)
    assert dice(found, masks)[0] == pytest.approx(2 / 3)  # 16 of 16 lung pixels, 16 others
    assert np.isnan(dice(found, np.full((1, 8, 8), 127, np.uint8))[0])


def test_the_loss_ignores_what_is_unknown_and_falls_with_better_outlines():
    target = np.full((2, 4, 4), np.nan, np.float32)
    target[0, :2], target[0, 2:] = 1.0, 0.0
    logits = np.where(target == 1, 3.0, -3.0).astype(np.float32)
    good = float(lung_loss(logits, target))
    logits[1] = 50.0  # an image without a mask
    assert float(lung_loss(logits, target)) == pytest.approx(good)
    logits[0] *= -1
    assert float(lung_loss(logits, target)) > good + 1
    assert float(lung_loss(logits, np.full((2, 4, 4), np.nan, np.float32))) == 0


def test_outlines_have_the_size_of_the_input():
    network = build_lung_network(height=32, width=48)
    assert network.output_shape == (None, 16, 24)
    assert network.count_params() * 4 < 2 * 2**20
    found = outline(network, np.zeros((3, 32, 48), np.uint8))
    assert found.shape == (3, 32, 48)
    assert isinstance(network, keras.Model)
