"""The lung segmenter in a bundle: it answers as Keras does, the runtime finds it, the card quotes it."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from small import SIZE

import cxr_export.lungs as module
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.explanation.lungs import LungSegmenter, to_mask
from cxr_export.errors import ParityError, RunError
from cxr_export.graphs import OPSET
from cxr_export.lungs import LUNG_FILE, add_lungs
from cxr_train.lung_network import build_lung_network


def write_lung_run(folder, *, size=SIZE):
    """Write the files of a finished `cxr-train lungs` around an untrained network."""
    keras.utils.set_random_seed(1)
    folder.mkdir()
    network = build_lung_network(height=size, width=size)
    network.save(folder / "model.keras")
    found = {"images": 5, "dice": {"value": 0.95, "low": 0.94, "high": 0.96}}
    record = {"arch": "lung_segmenter", "seed": 3, "command": "cxr-train lungs --data data --out runs/lungs --seed 3"}
    (folder / "run.json").write_text(json.dumps(record), "utf-8")
    (folder / "metrics.json").write_text(json.dumps({"validation": {"all": found, "NORMAL": found}}), "utf-8")
    return network


@pytest.fixture
def own_bundle(bundle_folder, tmp_path):
    return Bundle.open(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def test_the_bundle_outlines_lungs_as_keras_does(own_bundle, tmp_path):
    network = write_lung_run(tmp_path / "run")
    report = add_lungs(own_bundle, run=tmp_path / "run")
    assert report.difference < 1e-5
    after = Bundle.open(own_bundle.folder)
    assert set(after.manifest.files) == {*own_bundle.manifest.files, LUNG_FILE}
    assert after.manifest.lungs.dice == report.dice == 0.95
    assert after.manifest.lungs.training["command"] == "cxr-train lungs --data data --out runs/lungs --seed 3"
    image = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE)).astype(np.float32)
    expected = to_mask(np.asarray(network(image[None], training=False))[0], SIZE, SIZE)
    np.testing.assert_array_equal(LungSegmenter(after, provider="cpu").outline(image).mask, expected)
    add_lungs(after, run=tmp_path / "run")  # replaces the one that is there
    assert set(Bundle.open(own_bundle.folder).manifest.files) == set(after.manifest.files)


def test_the_card_quotes_dice_and_command(own_bundle, tmp_path):
    assert "## Lungs" not in own_bundle.path("MODEL_CARD.md").read_text("utf-8")
    write_lung_run(tmp_path / "run")
    add_lungs(own_bundle, run=tmp_path / "run")
    card = Bundle.open(own_bundle.folder).path("MODEL_CARD.md").read_text("utf-8")
    assert "| NORMAL | 5 | 0.9500 | 0.9400 to 0.9600 |" in card
    assert "cxr-train lungs --data data --out runs/lungs --seed 3" in card


def test_the_graph_is_small_and_lean(own_bundle, tmp_path):
    write_lung_run(tmp_path / "run")
    report = add_lungs(own_bundle, run=tmp_path / "run")
    assert report.bytes < 2 * 2**20
    model = onnx.load_from_string(Bundle.open(own_bundle.folder).model(LUNG_FILE))
    operators = {node.op_type for node in model.graph.node}
    sizes = {"Shape", "Gather", "Slice", "Concat", "Cast"}  # not always folded: once on a busy machine they stayed
    assert operators - sizes <= {"Reshape", "AveragePool", "Add", "Conv", "Relu", "MaxPool", "ConvTranspose"}
    assert {opset.version for opset in model.opset_import if not opset.domain} == {OPSET}


def test_a_run_of_another_kind_or_size_is_refused(own_bundle, run_folder, tmp_path):
    with pytest.raises(RunError, match="holds a mobilenet"):
        add_lungs(own_bundle, run=run_folder)
    with pytest.raises(RunError, match=r"run\.json"):
        add_lungs(own_bundle, run=tmp_path)
    write_lung_run(tmp_path / "run", size=32)
    with pytest.raises(RunError, match="32, 32"):
        add_lungs(own_bundle, run=tmp_path / "run")


def test_what_differs_from_keras_is_not_written(own_bundle, tmp_path, monkeypatch):
    write_lung_run(tmp_path / "run")
    graph, other = module.lung_graph, build_lung_network(height=SIZE, width=SIZE)
    monkeypatch.setattr(module, "lung_graph", lambda _: graph(other))
    with pytest.raises(ParityError, match="lungs differ"):
        add_lungs(own_bundle, run=tmp_path / "run")
    assert Bundle.open(own_bundle.folder).digest == own_bundle.digest
