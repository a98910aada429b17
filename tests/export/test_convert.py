"""Conversion: where the network is cut, which graphs come out, and what cannot be exported is named with the cure."""

import json
import shutil

import keras
import numpy as np
import pytest
from small import DATA, SIZE, small_network, write_run

from cxr_export.bundle import verify, write_bundle
from cxr_export.convert import OPSET, Exportable, classifier_graph, gradcam_graph
from cxr_export.edits import ConversionError
from cxr_train.dataset import KERMANY
from cxr_train.network import build_network
from cxr_train.runs import RunError


def test_the_network_is_cut_at_its_last_feature_map(network):
    assert network.input_size == (SIZE, SIZE)
    assert network.features == (16, 16, 12)
    assert network.head.input_shape == (None, 12)
    assert network.head.output_shape == (None, 2)


def test_a_folder_that_is_not_there_or_not_finished_names_what_is_missing(run_folder, tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        Exportable.open(tmp_path / "nowhere")
    shutil.copytree(run_folder, tmp_path / "half")
    (tmp_path / "half" / "calibration.json").unlink()
    with pytest.raises(RunError, match=r"calibration\.json missing.*cxr-train fit"):
        Exportable.open(tmp_path / "half")


def test_damaged_files_are_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").write_text(json.dumps({"scale": 1}))
    with pytest.raises(RunError, match="expected calibration and operating_points"):
        Exportable.open(tmp_path / "run")
    (tmp_path / "run" / "calibration.json").write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        Exportable.open(tmp_path / "run")


def test_a_checkpoint_that_keras_cannot_load_is_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "model.keras").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"model\.keras: Keras cannot load it"):
        Exportable.open(tmp_path / "run")


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
        Exportable.open(folder)


def test_a_network_of_one_channel_is_cut_as_well(tmp_path):
    assert Exportable.open(write_run(tmp_path / "run", small_network(grey_copies=1))).features == (16, 16, 12)


def test_names_shapes_and_opset_are_the_contract(network):
    classifier, gradcam = classifier_graph(network), gradcam_graph(network)
    assert [value.name for value in classifier.graph.input] == ["pixels"]
    assert {value.name for value in classifier.graph.output} == {"logodds", "probability", "features"}
    assert {value.name for value in gradcam.graph.input} == {"features", "target"}
    assert {value.name for value in gradcam.graph.output} == {"gradients", "map"}
    assert {opset.version for model in (classifier, gradcam) for opset in model.opset_import if not opset.domain} == {
        OPSET
    }


def test_a_gradient_that_onnx_does_not_have_is_named_with_the_cure(tmp_path):
    network = Exportable.open(write_run(tmp_path / "run", small_network(activation="elu")))
    classifier_graph(network)
    with pytest.raises(ConversionError, match=r"TensorFlow operator EluGrad.*hidden.*HANDLERS"):
        gradcam_graph(network)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "features"), [("mobilenet", (3, 3, 1024)), ("small-cnn", (6, 6, 256))])
def test_export_and_parity(tmp_path, arch, features):
    keras.utils.set_random_seed(1)  # not every random head is alive
    network = build_network(arch, height=96, width=96)
    # Without training, batch norm has neutral statistics: give it some, so that folding them is tried.
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_mean.assign(rng.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.02, 0.1, layer.moving_variance.shape))
    made = Exportable.open(write_run(tmp_path / "run", network, arch=arch))
    assert made.features == features
    bundle, _ = write_bundle(made, tmp_path / "bundle", data=DATA, split="test", dataset=KERMANY, version="0")
    assert bundle.manifest.name == f"pneumonia-{arch}"
    assert verify(bundle, made, data=DATA, split="train").faults == []
