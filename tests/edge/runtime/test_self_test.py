"""The self-test of a bundle: it passes as made, and sees a graph that answers otherwise or a frozen map."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.commands.doctor import verify
from cxr_edge.errors import BundleError
from cxr_edge.runtime.self_test import Comparison, self_test
from tiny import CHANNELS, SIDE, add_tiny_lungs, manifest_values, write_tiny_bundle


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def _frozen_gradcam():
    """A graph of the right shape whose gradients and map are constants repeated for every input."""
    constants = {
        "gradient": np.ones((1, SIDE, SIDE, CHANNELS), np.float32),
        "heat": np.ones((1, SIDE, SIDE), np.float32),
        "ones3": np.array([1, 1, 1], np.int64),
        "ones2": np.array([1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Shape", ["target"], ["n"]),
        helper.make_node("Concat", ["n", "ones3"], ["shape4"], axis=0),
        helper.make_node("Concat", ["n", "ones2"], ["shape3"], axis=0),
        helper.make_node("Expand", ["gradient", "shape4"], ["gradients"]),
        helper.make_node("Expand", ["heat", "shape3"], ["map"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "frozen",
        [
            value("features", onnx.TensorProto.FLOAT, ["N", SIDE, SIDE, CHANNELS]),
            value("target", onnx.TensorProto.INT64, ["N"]),
        ],
        [
            value("gradients", onnx.TensorProto.FLOAT, ["N", SIDE, SIDE, CHANNELS]),
            value("map", onnx.TensorProto.FLOAT, ["N", SIDE, SIDE]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_bundle_as_made_passes(tiny_bundle):
    report = self_test(Bundle.open(tiny_bundle))
    assert report.faults == []
    assert report.provider == "cpu"
    assert report.questions == 4
    assert set(report.differences) == {"logodds", "probability", "gradients", "map"}
    assert report.to_json()["passed"]


def test_a_changed_weight_is_seen(copy):
    model = onnx.load(copy / "classifier.onnx")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(numpy_helper.to_array(scale) * 1.01), "scale"))
    onnx.save(model, copy / "classifier.onnx")
    write_manifest(copy, manifest_values())
    report = self_test(Bundle.open(copy))
    assert len(report.faults) == 1
    assert report.faults[0].startswith("probability differs by")


def test_a_frozen_map_is_seen(copy):
    onnx.save(_frozen_gradcam(), copy / "gradcam.onnx")
    write_manifest(copy, manifest_values())
    report = self_test(Bundle.open(copy))
    assert report.map_change == 0
    assert "the class activation map does not change with the input" in report.faults


def test_a_frozen_map_fails_even_where_it_is_what_was_expected():
    assert Comparison(2, "cpu", {"map": 0.0}, map_change=0.0).faults
    assert Comparison(2, "cpu", {"map": float("nan")}, map_change=1.0).faults
    assert not Comparison(2, "cpu", {"map": 0.0}, map_change=0.5).faults


@pytest.fixture
def whole(tmp_path):
    """A bundle with a gate and a lung segmenter."""
    return add_tiny_lungs(write_tiny_bundle(tmp_path / "whole", gate=True))


def values_of(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def reseal(folder):
    write_manifest(folder, values_of(folder))


def change_constant(path, name, factor):
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.float32(numpy_helper.to_array(tensor) * factor), name))
    onnx.save(model, path)


def test_every_network_of_a_bundle_is_tested(whole):
    report = self_test(Bundle.open(whole))
    assert report.faults == []
    assert set(report.differences) == {"logodds", "probability", "gradients", "map", "gate_score", "lungs"}
    assert report.precisions.keys() == {"int8"}
    assert report.untested == ()


@pytest.mark.parametrize(
    ("file", "constant", "factor", "said"),
    [
        ("classifier.onnx", "w2", 1.01, "logodds differs by"),
        ("classifier.int8.onnx", "w2", 1.01, "int8 log-odds differ by"),
        ("gradcam.onnx", "area", 1.01, "gradients differs by"),
        ("gate.onnx", "middle", 1.01, "gate_score differs by"),
        ("lungs.onnx", "middle", 1.01, "lungs differs by"),
        ("gate.onnx", "middle", np.nan, "gate_score differs by nan"),
        ("classifier.int8.onnx", "b2", np.nan, "int8 log-odds differ by nan"),
    ],
)
def test_a_change_in_any_network_is_seen(whole, file, constant, factor, said):
    change_constant(whole / file, constant, factor)
    reseal(whole)
    report = self_test(Bundle.open(whole))
    assert any(fault.startswith(said) for fault in report.faults)
    json.dumps(report.to_json()["precisions"], allow_nan=False)


def test_a_precision_within_its_stated_loss_passes(whole):
    change_constant(whole / "classifier.int8.onnx", "b2", 1.2)
    values = values_of(whole)
    values["precisions"]["int8"]["loss"]["max_logodds_error"] = 0.5
    write_manifest(whole, values)
    report = self_test(Bundle.open(whole))
    assert report.faults == []
    assert 0.01 < report.precisions["int8"].logodds_difference < report.precisions["int8"].bound == 0.5


def test_what_has_no_expectation_is_said(whole):
    with np.load(whole / "golden.npz") as stored:
        golden = {name: value for name, value in stored.items() if name not in {"gate_score", "lungs"}}
    np.savez(whole / "golden.npz", **golden)
    values = values_of(whole)
    values["precisions"]["int8"]["loss"] = {}
    write_manifest(whole, values)
    report = self_test(Bundle.open(whole))
    assert report.untested == ("gate_score", "lungs", "int8")
    assert report.faults == []


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": np.zeros((4, 10, 10), np.float32)},
        {"inputs": np.zeros(4, np.float32)},
        {"inputs": np.zeros((0, 224, 224), np.float32)},
        {"inputs": np.full((4, 224, 224), np.nan, np.float32)},
        {"inputs": np.zeros((4, 224, 224), complex)},
        {"target": np.array([0, 1, 2, 1])},
        {"target": np.zeros((4, 1), np.int64)},
        {"target": np.zeros(4, np.float32)},
        {"logodds": np.zeros((4, 1), np.float32)},
        {"logodds": np.array(["a"] * 4)},
        {"logodds": np.array([None] * 4)},
        {"probability": np.zeros(3, np.float32)},
        {"gradients": np.zeros((4, 7, 7), np.float32)},
        {"map": np.zeros((4, 14, 14), np.float32)},
        {"gate_score": np.zeros((1, 4), np.float32)},
        {"lungs": np.zeros((9, 112, 112), np.float32)},
        {"lungs": np.zeros((4, 56, 56), np.float32)},
    ],
    ids=lambda changes: " ".join(f"{name} {value.shape} {value.dtype}" for name, value in changes.items()),
)
def test_odd_arrays_are_a_fault_of_the_bundle(whole, changes):
    with np.load(whole / "golden.npz") as stored:
        golden = dict(stored)
    np.savez(whole / "golden.npz", **{**golden, **changes})
    reseal(whole)
    with pytest.raises(BundleError) as raised:
        self_test(Bundle.open(whole))
    assert raised.value.exit_code == 5
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("damage", ["text", "keys", "half", "nothing"])
def test_damaged_answers_are_named(copy, damage):
    whole = (copy / "golden.npz").read_bytes()
    if damage == "keys":
        np.savez(copy / "golden.npz", inputs=np.zeros((1, 224, 224)))
    else:
        texts = {"text": b"no archive", "half": whole[: len(whole) // 2], "nothing": b""}
        (copy / "golden.npz").write_bytes(texts[damage])
    write_manifest(copy, manifest_values())
    with pytest.raises(BundleError, match=r"golden\.npz: not the inputs and answers expected"):
        self_test(Bundle.open(copy))


def test_an_archive_that_unpacks_without_end_is_refused(copy, monkeypatch):
    monkeypatch.setattr("cxr_edge.runtime.reference._LARGEST", 1000)
    with pytest.raises(BundleError, match="bytes unpacked"):
        self_test(Bundle.open(copy))


def test_the_command_prints_one_record(tiny_bundle, capsys):
    verify(tiny_bundle)
    record = json.loads(capsys.readouterr().out)
    assert record["passed"]
    first_release = {"schema", "bundle", "questions", "provider", "differences", "map_change", "tolerance", "passed"}
    assert record.keys() == {*first_release, "precisions", "untested", "untried"}
    assert record["bundle"]["name"] == "tiny"


def test_the_command_refuses_a_bundle_that_answers_otherwise(copy):
    onnx.save(_frozen_gradcam(), copy / "gradcam.onnx")
    write_manifest(copy, manifest_values())
    with pytest.raises(BundleError, match="does not change with the input") as error:
        verify(copy)
    assert error.value.exit_code == 5
