"""The self-test of a bundle: it passes as made, and sees a graph that answers otherwise or a frozen map."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.commands.verify import verify
from cxr_edge.errors import BundleError
from cxr_edge.runtime.self_test import Comparison, self_test
from tiny import CHANNELS, SIDE, manifest_values


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


@pytest.mark.parametrize("damage", ["text", "keys"])
def test_damaged_answers_are_named(copy, damage):
    if damage == "text":
        (copy / "golden.npz").write_text("no archive")
    else:
        np.savez(copy / "golden.npz", inputs=np.zeros((1, 224, 224)))
    write_manifest(copy, manifest_values())
    with pytest.raises(BundleError, match=r"golden\.npz: not the inputs and answers expected"):
        self_test(Bundle.open(copy))


def test_the_command_prints_one_record(tiny_bundle, capsys):
    verify(tiny_bundle)
    record = json.loads(capsys.readouterr().out)
    assert record["passed"]
    assert record["bundle"]["name"] == "tiny"


def test_the_command_refuses_a_bundle_that_answers_otherwise(copy):
    onnx.save(_frozen_gradcam(), copy / "gradcam.onnx")
    write_manifest(copy, manifest_values())
    with pytest.raises(BundleError, match="does not change with the input") as error:
        verify(copy)
    assert error.value.exit_code == 5
