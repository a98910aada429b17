"""Folding: fewer nodes, the same answers."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from small import SIZE, small_network, write_run

from cxr_export import edits as module
from cxr_export.convert import Exportable, classifier_graph
from cxr_export.edits import add_first, simplify
from cxr_train.dataset import noise


def _answers(model: onnx.ModelProto, pixels: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logodds", "probability", "features"], {"pixels": pixels})


@pytest.mark.parametrize("grey_copies", [1, 3])
def test_grey_copies_scale_and_batch_norm_are_folded_and_the_answers_stay(tmp_path, grey_copies):
    model = classifier_graph(Exportable.open(write_run(tmp_path / "run", small_network(grey_copies=grey_copies))))
    simple = simplify(model)
    before, after = (Counter(node.op_type for node in m.graph.node) for m in (model, simple))
    assert before["Concat"] == (grey_copies == 3)
    assert after["Concat"] == 0
    to_conv = [node.op_type for node in simple.graph.node]
    assert "Mul" not in to_conv[: to_conv.index("Conv")]
    kernels = {tensor.name: tensor.dims for tensor in simple.graph.initializer}
    convolutions = [node for node in simple.graph.node if node.op_type == "Conv"]
    assert list(kernels[convolutions[0].input[1]]) == [8, 1, 3, 3]
    assert len(convolutions) == before["Conv"]
    assert all(len(node.input) == 3 for node in convolutions)  # batch norm ended in the bias
    pixels = noise(3, size=(SIZE, SIZE))
    for expected, found in zip(_answers(model, pixels), _answers(simple, pixels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_only_standard_operators_remain_so_that_any_processor_can_load_it(network):
    simple = simplify(classifier_graph(network))
    assert [opset.domain for opset in simple.opset_import] == [""]
    assert {node.domain for node in simple.graph.node} == {""}
    assert simple.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_the_offset_is_added_before_the_pixels_get_a_channel(network, monkeypatch):
    monkeypatch.setattr(module, "add_first", lambda _graph: False)
    before = simplify(classifier_graph(network))
    monkeypatch.undo()
    after = simplify(classifier_graph(network))
    assert [node.op_type for node in before.graph.node][:4] == ["Reshape", "Add", "Transpose", "Conv"]
    assert [node.op_type for node in after.graph.node][:3] == ["Add", "Reshape", "Conv"]
    assert not add_first(after.graph)
    pixels = noise(3, size=(SIZE, SIZE))
    for expected, found in zip(_answers(before, pixels), _answers(after, pixels), strict=True):
        np.testing.assert_array_equal(found, expected)
