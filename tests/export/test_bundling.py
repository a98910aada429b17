"""The bundle as a whole: it opens, it answers as Keras does, it says where it came from, it is written whole or not."""

import json
import shutil

import numpy as np
import onnx
import pytest
from small import DATA, SIZE, small_network, write_run

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.self_test import self_test
from cxr_export.bundling import write_bundle
from cxr_export.dataset import KERMANY
from cxr_export.errors import ParityError
from cxr_export.folders import dataset_of
from cxr_export.parity import verify
from cxr_export.radiographs import read_split
from cxr_export.run import Run


def test_a_bundle_holds_every_file_and_passes_its_own_test(bundle):
    assert set(bundle.manifest.files) == {"classifier.onnx", "gradcam.onnx", "golden.npz", "MODEL_CARD.md"}
    assert self_test(bundle).faults == []


def test_golden_answers_cover_both_classes_with_real_radiographs_and_noise(bundle):
    with np.load(bundle.path("golden.npz")) as golden:
        assert golden["inputs"].dtype == np.uint8
        assert len(golden["inputs"]) >= 8 + 2
        assert set(golden["target"]) == {0, 1}
        assert golden["inputs"][-1].std() > 70  # uniform noise


def test_parity_with_keras_on_radiographs_and_noise(bundle, run):
    report = verify(bundle, run, data=DATA, split="train")
    assert report.faults == []
    assert max(report.differences.values()) < 2e-5  # the processors' rounding differs: up to 1.05e-5 seen
    assert report.map_change > 0.1


def test_another_run_is_not_what_the_bundle_was_made_from(bundle, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    chosen = json.loads((run_folder / "calibration.json").read_text("utf-8"))
    chosen["calibration"]["scale"] *= 1.1
    (tmp_path / "run" / "calibration.json").write_text(json.dumps(chosen), "utf-8")
    report = verify(bundle, Run.open(tmp_path / "run"), data=DATA, split="test")
    assert [fault.split()[0] for fault in report.faults] == ["probability"]


def test_a_gradient_that_was_frozen_into_the_graph_is_seen(bundle_folder, run, tmp_path):
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    model = onnx.load(folder / "gradcam.onnx")
    frozen = next(node for node in model.graph.node if node.output[0] == "map")
    producer = onnx.helper.make_node("Mul", ["map/live", "map/zero"], ["map"])
    frozen.output[0] = "map/live"
    model.graph.node.append(producer)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "map/zero"))
    onnx.save(model, folder / "gradcam.onnx")
    write_manifest(folder, Bundle.open(bundle_folder).manifest.to_json())
    faults = verify(Bundle.open(folder), run, data=DATA, split="test").faults
    assert any("does not change with the input" in fault for fault in faults)
    assert any(fault.startswith("map differs") for fault in faults)


def test_the_manifest_repeats_the_run(bundle, run):
    manifest = bundle.manifest
    assert (manifest.input.height, manifest.input.width) == (SIZE, SIZE)
    assert (manifest.features.height, manifest.features.width, manifest.features.channels) == run.features
    assert manifest.calibration.to_json() == run.calibration
    assert manifest.training["command"] == run.record["command"]
    assert manifest.training["metrics"] == run.metrics
    assert {"keras", "tf2onnx", "onnx", "onnxruntime"} <= set(manifest.tools)
    assert manifest.data["licence"] == "CC BY 4.0"
    assert manifest.licence == "MIT"
    assert manifest.scope == KERMANY.scope
    assert "scope" not in manifest.data
    assert dataset_of(bundle) == KERMANY


def test_the_model_card_states_data_command_figures_and_limits(bundle, run):
    card = bundle.path("MODEL_CARD.md").read_text("utf-8")
    for expected in (run.record["command"], "seed 7", "Not a medical device", "children of 1 to 5 years", "CC BY 4.0"):
        assert expected in card
    assert "| AUROC | 0.9000 | 0.8000 to 1.0000 |" in card
    assert "| recall |" not in card  # it was not a number
    assert "| balanced (default) | 0.5000 | by hand | 0.9000 | 0.8000 |" in card
    assert '"unreadable": 2' in card
    assert "PatientAge (0010,1010): 1 to 5; ViewPosition (0018,5101): AP; BodyPartExamined" in card
    assert "int8" not in card


def test_the_runtime_predicts_with_it(bundle):
    pixels = read_split(DATA, "test", size=(SIZE, SIZE), count=4).pixels
    predictions = Classifier(bundle, provider="cpu").predict(pixels)
    assert [prediction.features.shape for prediction in predictions] == [(16, 16, 12)] * 4
    expected = [1 / (1 + np.exp(-(0.7 * prediction.logodds - 0.2))) for prediction in predictions]
    np.testing.assert_allclose([prediction.probability for prediction in predictions], expected, rtol=1e-5)


def test_a_bundle_that_fails_its_own_test_is_not_written(tmp_path):
    network = small_network()
    # A head that sees nothing gives the same empty map for every input.
    network.get_layer("logits").set_weights([np.zeros((8, 2)), np.ones(2)])
    run = Run.open(write_run(tmp_path / "run", network))
    with pytest.raises(ParityError, match="map does not change"):
        write_bundle(run, tmp_path / "out", data=DATA, split="test", dataset=KERMANY, version="0")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
