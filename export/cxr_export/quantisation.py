"""An int8 classifier by static quantisation: activations u8 per tensor, weights s8 per output channel.

Weights use 7 bits (``reduce_range``): without VNNI, the products of u8 and s8 are summed in 16 bits and saturate.
Measured on the shipped network, that costs 0.01 of mean log-odds error against 8 bits and no time.

Rounding the weights shifts the mean of every channel, which adds up over the layers; the shift is known from the mean
of the layer's input and is taken off its bias (Nagel et al. 2019, section 4.2, with measured means).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorData, TensorsData

from cxr_export.errors import ConversionError
from cxr_export.simplify import constant, drop_unused, input_chain, set_constant

TOLERATED_ERROR = 0.1
"""Mean log-odds error that one depthwise layer may cause alone before it stays in float."""
_OPERATORS = ["Conv", "Clip", "Relu", "MaxPool"]
_BATCH = 8


def quantize(fp32: bytes, pixels: NDArray[np.float32], *, reduce_range: bool = True) -> tuple[bytes, list[str]]:
    """Quantises a classifier.

    Args:
        fp32: The ONNX file's bytes.
        pixels: Radiographs to calibrate on, float32 [N, height, width] in 0..255.
        reduce_range: Weights of 7 bits instead of 8.

    Returns:
        The int8 ONNX file's bytes, and the names of the convolutions that stayed in float.

    Raises:
        ConversionError: The network has no convolution.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(fp32))
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ConversionError("the classifier has no convolution to quantise; use it in fp32")
    levels = _shift_to_whole_levels(model.graph)
    ranges = _ranges(model, pixels)
    if levels is not None:
        name, offset = levels
        ranges[name] = TensorData(lowest=np.float32(offset), highest=np.float32(offset + 255))
    means = _input_means(model, pixels)

    def build(**choice: list[str]) -> onnx.ModelProto:
        first = _quantized(model, ranges, reduce_range=reduce_range, **choice)
        corrected = onnx.ModelProto()
        corrected.CopyFrom(model)
        _correct_biases(corrected.graph, first.graph, means)
        return _quantized(corrected, ranges, reduce_range=reduce_range, **choice)

    some = pixels[::2]
    expected = _logodds(fp32, some)
    float_layers = [
        conv.name
        for conv in _depthwise(model.graph)
        if np.abs(_logodds(build(only=[conv.name]).SerializeToString(), some) - expected).mean() > TOLERATED_ERROR
    ]
    out = build(without=float_layers)
    drop_unused(out.graph)
    _keep_in_float(out.graph, float_layers)
    if levels is not None:
        _take_pixels_as_levels(out.graph)
    onnx.checker.check_model(out, full_check=True)
    return out.SerializeToString(), float_layers


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self._batches = iter({"pixels": pixels[i : i + _BATCH]} for i in range(0, len(pixels), _BATCH))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def _shift_to_whole_levels(graph: onnx.GraphProto) -> tuple[str, float] | None:
    """Makes the offset in front of the first convolution whole, so that grey levels are exact in 8 bits.

    What is left of the offset goes into the bias; only the padded border then differs, by half a grey level.

    Returns:
        The name of the convolution's input and the offset, or None where the graph does not begin with one.
    """
    chain = input_chain(graph)
    adds = [node for node in chain if node.op_type == "Add"]
    if len(adds) != 1 or any(node.op_type == "Mul" for node in chain):
        return None
    conv = chain[-1]
    offset = float(constant(graph, adds[0].input[1]))
    kernel = constant(graph, conv.input[1])
    bias = constant(graph, conv.input[2]) if len(conv.input) > 2 else np.zeros(len(kernel))
    set_constant(graph, adds[0], 1, np.rint(offset))
    set_constant(graph, conv, 2, bias + kernel.sum((1, 2, 3)) * (offset - np.rint(offset)))
    drop_unused(graph)
    return conv.input[0], float(np.rint(offset))


def _take_pixels_as_levels(graph: onnx.GraphProto) -> None:
    """Drops the offset: quantised with zero point 0 and read with its negative, a grey level is its own code."""
    add = next(node for node in graph.node if node.op_type == "Add")
    after = next(node for node in graph.node if add.output[0] in node.input)
    after.input[0] = add.input[0]
    graph.node.remove(add)
    quantize_input = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    set_constant(graph, quantize_input, 2, np.zeros(()), dtype=np.uint8)
    drop_unused(graph)


def _ranges(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> TensorsData:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        calibrator = create_calibrator(source, _OPERATORS, augmented_model_path=str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(_Batches(pixels))
        return calibrator.compute_data()


def _input_means(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """The mean of every channel of every convolution's input."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = _session(watched.SerializeToString())
    sums = [np.zeros(1)] * len(names)
    for start in range(0, len(pixels), _BATCH):
        values = session.run(names, {"pixels": pixels[start : start + _BATCH]})
        sums = [total + value.mean((2, 3), np.float64).sum(0) for total, value in zip(sums, values, strict=True)]
    return {name: total / len(pixels) for name, total in zip(names, sums, strict=True)}


def _quantized(
    model: onnx.ModelProto,
    ranges: TensorsData,
    *,
    reduce_range: bool,
    only: Iterable[str] = (),
    without: Iterable[str] = (),
) -> onnx.ModelProto:
    # A convolution and the activation behind it are quantised as one.
    names = [list(_with_activation(model.graph, wanted)) for wanted in (only, without)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    logging.disable(logging.WARNING)  # it recommends its own pre-processing, which this graph has had
    try:
        quantizer = QDQQuantizer(
            copy, True, reduce_range, QuantType.QInt8, QuantType.QUInt8, ranges, *names, _OPERATORS, {}
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    finally:
        logging.disable(logging.NOTSET)
    out: onnx.ModelProto = quantizer.model.model
    return out


def _with_activation(graph: onnx.GraphProto, convolutions: Iterable[str]) -> Iterable[str]:
    for conv in [node for node in graph.node if node.name in set(convolutions)]:
        yield conv.name
        yield from (
            node.name for node in graph.node if node.op_type in {"Clip", "Relu"} and conv.output[0] in node.input
        )


def _correct_biases(graph: onnx.GraphProto, quantized: onnx.GraphProto, means: dict[str, NDArray[np.float64]]) -> None:
    stored = {tensor.name for tensor in quantized.initializer}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        weight = conv.input[1]
        if f"{weight}_quantized" not in stored:
            continue
        kernel = constant(graph, weight)
        scale = constant(quantized, f"{weight}_scale").reshape(-1, 1, 1, 1)
        lost = (kernel - constant(quantized, f"{weight}_quantized") * scale).sum((2, 3))
        inputs = means[conv.input[0]]
        # A depthwise kernel has one input channel per output channel, any other has all of them.
        shift = lost[:, 0] * inputs if lost.shape[1] < len(inputs) else lost @ inputs
        bias = constant(graph, conv.input[2]) if len(conv.input) > 2 else 0.0
        set_constant(graph, conv, 2, bias + shift)


def _depthwise(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return [node for node in convolutions if any(a.name == "group" and a.i > 1 for a in node.attribute)]


def _keep_in_float(graph: onnx.GraphProto, convolutions: Iterable[str]) -> None:
    """Writes the activation behind a float convolution as Max and Min.

    ONNX Runtime quantises a convolution between quantised neighbours when it loads the graph, per tensor, which ruins
    depthwise layers; behind it, it looks for Clip and Relu only.
    """
    for conv in [node for node in graph.node if node.name in set(convolutions)]:
        activation = next(node for node in graph.node if conv.output[0] in node.input)
        if activation.op_type not in {"Clip", "Relu"}:
            continue
        bounds = (
            [("Max", 0.0)]
            if activation.op_type == "Relu"
            else [
                (operator, float(constant(graph, name)))
                for operator, name in zip(("Max", "Min"), activation.input[1:], strict=False)
            ]
        )
        place, name = list(graph.node).index(activation), conv.output[0]
        graph.node.remove(activation)
        for step, (operator, bound) in enumerate(bounds, start=1):
            output = activation.output[0] if step == len(bounds) else f"{activation.output[0]}/{operator}"
            node = onnx.helper.make_node(operator, [name], [output], name=f"{activation.name}/{operator}")
            set_constant(graph, node, 1, np.array(bound))
            graph.node.insert(place + step - 1, node)
            name = output


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answers(model: bytes, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-odds and probability, float32 [N] each, that a classifier gives for float32 [N, height, width]."""
    session = _session(model)
    parts = [
        session.run(["logodds", "probability"], {"pixels": pixels[start : start + _BATCH]})
        for start in range(0, len(pixels), _BATCH)
    ]
    logodds, probability = (np.concatenate(values) for values in zip(*parts, strict=True))
    return logodds, probability


def _logodds(model: bytes, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return answers(model, pixels)[0]
