"""Run folders: what is cut out of the network, and what is said about a folder that cannot be exported."""

import json
import shutil

import keras
import pytest
from small import DATA, SIZE, small_network, write_run

from cxr_export.errors import RunError
from cxr_export.run import Run


def test_the_network_is_cut_at_its_last_feature_map(run):
    assert run.input_size == (SIZE, SIZE)
    assert run.features == (16, 16, 12)
    assert run.head.input_shape == (None, 12)
    assert run.head.output_shape == (None, 2)


def test_a_figure_that_is_not_a_number_becomes_null(run):
    assert run.metrics["validation"]["metrics"]["recall"]["value"] is None


def test_the_data_folder_comes_from_the_training_command_unless_given(run, tmp_path):
    assert run.data_folder(None) == DATA
    assert run.data_folder(tmp_path) == tmp_path
    with pytest.raises(RunError, match="--data DIR"):
        run.data_folder(tmp_path / "gone")


def test_a_folder_that_is_not_there_or_not_finished_names_what_is_missing(run_folder, tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        Run.open(tmp_path / "nowhere")
    shutil.copytree(run_folder, tmp_path / "half")
    (tmp_path / "half" / "calibration.json").unlink()
    with pytest.raises(RunError, match=r"calibration\.json missing.*cxr-train fit"):
        Run.open(tmp_path / "half")


def test_damaged_files_are_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").write_text(json.dumps({"scale": 1}))
    with pytest.raises(RunError, match="expected calibration and operating_points"):
        Run.open(tmp_path / "run")
    (tmp_path / "run" / "calibration.json").write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        Run.open(tmp_path / "run")


def test_a_checkpoint_that_keras_cannot_load_is_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "model.keras").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"model\.keras: Keras cannot load it"):
        Run.open(tmp_path / "run")


def _network(pooling: keras.layers.Layer, last: keras.layers.Layer) -> keras.Model:
    pixels = keras.Input((8, 8), name="pixels")
    x = keras.layers.Conv2D(2, 3)(keras.layers.Reshape((8, 8, 1))(pixels))
    return keras.Model(pixels, last(pooling(x)))


@pytest.mark.parametrize(
    ("pooling", "last", "message"),
    [
        (keras.layers.Flatten(), keras.layers.Dense(2), "GlobalAveragePooling2D named 'pooled'.*found nothing"),
        (keras.layers.GlobalMaxPooling2D(name="pooled"), keras.layers.Dense(2), "found GlobalMaxPooling2D"),
        (keras.layers.GlobalAveragePooling2D(name="pooled"), keras.layers.Dense(3), "two logits out"),
        (
            keras.layers.GlobalAveragePooling2D(name="pooled"),
            keras.layers.Dense(2, activation="softmax"),
            "ends in softmax; expected logits",
        ),
    ],
)
def test_a_network_without_the_parts_that_are_exported_is_refused(tmp_path, pooling, last, message):
    folder = write_run(tmp_path / "run", _network(pooling, last))
    with pytest.raises(RunError, match=message):
        Run.open(folder)


def test_a_network_of_one_channel_is_cut_as_well(tmp_path):
    assert Run.open(write_run(tmp_path / "run", small_network(grey_copies=1))).features == (16, 16, 12)
