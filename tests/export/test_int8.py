"""int8: the answers stay close, the integers stand for what they should, float layers stay float when loaded."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from small import DATA, SIZE

from cxr_edge.bundle.bundle import Bundle
from cxr_export import int8 as module
from cxr_export.edits import ConversionError, answer
from cxr_export.int8 import quantize, quantize_bundle
from cxr_train.dataset import find_samples, noise, read_images


@pytest.fixture(scope="module")
def fp32(bundle):
    return bundle.model("classifier.onnx")


@pytest.fixture(scope="module")
def test_pixels():
    return read_images(find_samples(DATA, ["test"]), height=SIZE, width=SIZE).pixels


def logodds(model, pixels):
    return answer(model, pixels, ["logodds"])[0]


def _spread(logodds):
    return float(logodds.max() - logodds.min())


# Sums of full 8-bit weights saturate on processors without VNNI (0.19 seen); 7 bits, the default, never do.
@pytest.mark.parametrize(("reduce_range", "bound"), [(True, 0.15), (False, 0.25)])
def test_answers_stay_close(fp32, pixels, test_pixels, reduce_range, bound):
    int8, _ = quantize(fp32, pixels, reduce_range=reduce_range)
    expected, found = logodds(fp32, test_pixels), logodds(int8, test_pixels)
    assert np.abs(found - expected).mean() < bound * _spread(expected)


def test_every_convolution_is_quantised_with_7_bit_weights(fp32, pixels):
    int8, float_layers = quantize(fp32, pixels)
    model = onnx.load_from_string(int8)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert float_layers == []
    assert len(weights) == 3
    assert all(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max() <= 64 for weight in weights)


def test_grey_levels_are_their_own_codes(fp32, pixels):
    model = onnx.load_from_string(quantize(fp32, pixels)[0])
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert constants[first.input[1]] == pytest.approx(1.0)
    assert constants[first.input[2]] == 0
    assert "Add" not in [node.op_type for node in model.graph.node][: list(model.graph.node).index(first)]


def test_corrected_biases_bring_the_mean_back(fp32, pixels, monkeypatch):
    def channels(model):
        return answer(model, pixels, ["features"])[0].mean((0, 1, 2))

    expected = channels(fp32)
    corrected = np.abs(channels(quantize(fp32, pixels)[0]) - expected).mean()
    monkeypatch.setattr(module, "_correct_biases", lambda *_: None)
    plain = np.abs(channels(quantize(fp32, pixels)[0]) - expected).mean()
    assert corrected < 0.6 * plain


def test_a_layer_kept_in_float_is_still_float_in_the_running_session(fp32, pixels, test_pixels, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "TOLERATED_ERROR", 0.0)  # no layer is good enough
    int8, float_layers = quantize(fp32, pixels)
    assert len(float_layers) == 1
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node)
    assert operators["QLinearConv"] == 2
    expected = logodds(fp32, test_pixels)
    assert np.abs(logodds(int8, test_pixels) - expected).mean() < 0.15 * _spread(expected)


def test_a_network_without_convolution_is_refused():
    value = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["N", 4, 4])
    out = onnx.helper.make_tensor_value_info("logodds", onnx.TensorProto.FLOAT, ["N", 4, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["pixels"], ["logodds"])], "g", [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(ConversionError, match="no convolution"):
        quantize(model.SerializeToString(), noise(2, size=(4, 4)).astype(np.uint8))


def test_the_bundle_gets_the_file_the_loss_and_a_new_seal(own):
    loss = quantize_bundle(own, data=DATA)
    after = Bundle.open(own.folder)
    assert after.digest != own.digest
    assert after.manifest.precisions["int8"].file in after.contents
    assert after.manifest.precisions["int8"].loss == loss.to_json()
    assert loss.images == 8
    assert loss.label_agreement >= 0.75
    assert "## int8" in after.path("MODEL_CARD.md").read_text("utf-8")
    quantize_bundle(after, data=DATA)  # replaces the one that is there
    assert Bundle.open(own.folder).digest == after.digest
