"""A bundle of an earlier release is written anew with the same answers, and its self-test is completed."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small import SIZE

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import SCHEMA
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.self_test import self_test
from cxr_export import attach as module
from cxr_export.attach import upgrade_bundle
from cxr_export.bundle import ParityError, changing
from cxr_export.cli import app
from cxr_train.dataset import noise

SCHEMA_1 = Path(__file__).parents[1] / "data" / "bundles" / "schema1"


def with_kernels_in_another_order(data):
    """Store every kernel with its axes turned, and bring it back by a node, as the first release does."""
    model = onnx.load_from_string(data)
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for name in {node.input[1] for node in graph.node if node.op_type == "Conv"}:
        turned = np.ascontiguousarray(numpy_helper.to_array(tensors[name]).transpose(1, 2, 3, 0))
        graph.initializer.remove(tensors[name])
        graph.initializer.append(numpy_helper.from_array(turned, f"{name}/turned"))
        nodes.append(helper.make_node("Transpose", [f"{name}/turned"], [name], perm=[3, 0, 1, 2]))
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()


@pytest.fixture
def older(own):
    with changing(own) as (folder, values):
        file = folder / "classifier.onnx"
        file.write_bytes(with_kernels_in_another_order(file.read_bytes()))
        (folder / "classifier.prepared.onnx").write_bytes(b"prepared for another processor")
        values["audit"] = None
    return Bundle.open(own.folder)


def test_kernels_become_constants_again_and_answers_stay_to_the_bit(older):
    pixels = noise(5, size=(SIZE, SIZE))
    before = Classifier(older, provider="cpu").logodds(pixels)
    after = upgrade_bundle(older, version="2.0")
    graph = onnx.load_from_string(after.model("classifier.onnx")).graph
    stored = {tensor.name for tensor in graph.initializer}
    assert all(node.input[1] in stored for node in graph.node if node.op_type == "Conv")
    np.testing.assert_array_equal(Classifier(after, provider="cpu").logodds(pixels), before)
    assert after.manifest.version == "2.0"
    assert "classifier.prepared.onnx" not in after.manifest.files
    assert "# " in after.path("MODEL_CARD.md").read_text("utf-8")


def test_the_first_schema_becomes_the_present_one_and_its_gate_and_lungs_are_tested(tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(SCHEMA_1, tmp_path / "bundle")
    assert self_test(Bundle.open(folder)).untested == ("gate_score", "lungs")
    monkeypatch.setattr("sys.argv", ["cxr-export", "upgrade", str(folder), "--version", "1.0"])
    app(standalone_mode=False)
    after = Bundle.open(folder)
    assert json.loads(capsys.readouterr().out) == after.to_json()
    assert json.loads((folder / "manifest.json").read_bytes())["schema"] == SCHEMA
    report = self_test(after)
    assert report.faults == []
    assert report.untested == ()
    assert {"gate_score", "lungs"} < report.differences.keys()
    assert report.precisions["int8"].bound == 0.001
    by = after.manifest.self_test.computed_by
    assert by.keys() == report.differences.keys()
    assert "ONNX Runtime" in by["gate_score"]
    assert "Keras" in by["logodds"]


def test_an_audit_goes_on_to_hold_for_what_answers_the_same(older):
    audited = {name: older.manifest.files[name].sha256 for name in ("classifier.onnx", "classifier.prepared.onnx")}
    bars = {"metrics": {}, "bars": [], "points": {}, "data": {"split": "t", "images": {}, "patients": 1}}
    audit = {**bars, "files": audited, "precision": "fp32", "date": "d", "command": "c", "interval": "i"}
    with changing(older) as (_, values):
        values["audit"] = audit
    after = upgrade_bundle(Bundle.open(older.folder), version="2.0")
    assert after.manifest.audit["files"] == {"classifier.onnx": after.manifest.files["classifier.onnx"].sha256}


def test_one_that_would_answer_otherwise_is_not_written(older, monkeypatch):
    def wrongly(model):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("/turned"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.1), tensor.name))
        return model

    monkeypatch.setattr(module, "fold_constants", wrongly)
    with pytest.raises(ParityError, match="another"):
        upgrade_bundle(older, version="2.0")
    assert Bundle.open(older.folder).digest == older.digest
