"""An int8 classifier in a bundle, by static quantisation: activations u8 per tensor, weights s8 per output channel.

Weights use 7 bits (``reduce_range``): without VNNI, the products of u8 and s8 are summed in 16 bits and saturate.
Measured on the shipped network, that costs 0.01 of mean log-odds error against 8 bits and no time.

Rounding the weights shifts the mean of every channel, which adds up over the layers; the shift is known from the mean
of the layer's input and is taken off its bias (Nagel et al. 2019, section 4.2, with measured means).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QDQQuantizer, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from sklearn.metrics import roc_auc_score

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Manifest
from cxr_edge.runtime.sessions import open_session
from cxr_export.bundle import changing
from cxr_export.edits import (
    ConversionError,
    answer,
    batches_of,
    constant,
    drop_unused,
    fold_constants,
    input_chain,
    set_constant,
)
from cxr_train.dataset import Images, find_samples, read_images, spread

INT8_FILE = "classifier.int8.onnx"
CALIBRATION_IMAGES = 128
TOLERATED_ERROR = 0.1
"""Mean log-odds error that one depthwise layer may cause alone before it stays in float."""
_OPERATORS = ["Conv", "Clip", "Relu", "MaxPool"]


def quantize(fp32: bytes, pixels: NDArray[np.uint8], *, reduce_range: bool = True) -> tuple[bytes, list[str]]:
    """Quantises a classifier.

    Args:
        fp32: The ONNX file's bytes.
        pixels: Radiographs to calibrate on, uint8 [N, height, width].
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

    (expected,) = answer(fp32, pixels[::2], ["logodds"])

    def error_of(layer: str) -> float:
        (found,) = answer(build(only=[layer]).SerializeToString(), pixels[::2], ["logodds"])
        return float(np.abs(found - expected).mean())

    float_layers = [conv.name for conv in _depthwise(model.graph) if error_of(conv.name) > TOLERATED_ERROR]
    out = build(without=float_layers)
    drop_unused(out.graph)
    _keep_in_float(out.graph, float_layers)
    if levels is not None:
        _take_pixels_as_levels(out.graph)
    onnx.checker.check_model(out, full_check=True)
    return out.SerializeToString(), float_layers


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


def _ranges(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> TensorsData:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        calibrator = create_calibrator(source, _OPERATORS, augmented_model_path=str(Path(folder) / "augmented.onnx"))
        batches = batches_of(pixels)
        calibrator.collect_data(SimpleNamespace(get_next=lambda: next(batches, None)))
        return calibrator.compute_data()


def _input_means(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """The mean of every channel of every convolution's input."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(watched.SerializeToString(), provider="cpu")
    sums = [np.zeros(1)] * len(names)
    for batch in batches_of(pixels):
        values = session.run(batch, names)
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

    When ONNX Runtime loads a graph, it quantises every convolution between quantised neighbours, per tensor, which
    ruins depthwise layers. It recognises such a convolution by the Clip or Relu behind it.
    """
    for conv in [node for node in graph.node if node.name in set(convolutions)]:
        activation = next(node for node in graph.node if conv.output[0] in node.input)
        if activation.op_type not in {"Clip", "Relu"}:
            continue
        names = dict(zip(("Max", "Min"), activation.input[1:], strict=False)) if activation.op_type == "Clip" else {}
        bounds = [(operator, float(constant(graph, name))) for operator, name in names.items()] or [("Max", 0.0)]
        place, name = list(graph.node).index(activation), conv.output[0]
        graph.node.remove(activation)
        for step, (operator, bound) in enumerate(bounds, start=1):
            output = activation.output[0] if step == len(bounds) else f"{activation.output[0]}/{operator}"
            node = onnx.helper.make_node(operator, [name], [output], name=f"{activation.name}/{operator}")
            set_constant(graph, node, 1, np.array(bound))
            graph.node.insert(place + step - 1, node)
            name = output


@dataclass(frozen=True)
class Loss:
    """What int8 costs against fp32.

    Attributes:
        images: How many radiographs it was measured on.
        measured_on: Which ones.
        calibrated_on: Which ones gave the ranges.
        mean_logodds_error: Mean absolute difference of the uncalibrated log-odds.
        max_logodds_error: Largest one.
        label_agreement: Share of equal labels at the default operating point.
        auroc_difference: int8 less fp32.
        float_layers: Convolutions that stay in float.
    """

    images: int
    measured_on: str
    calibrated_on: str
    mean_logodds_error: float
    max_logodds_error: float
    label_agreement: float
    auroc_difference: float
    float_layers: list[str]

    def to_json(self) -> dict[str, Any]:
        """The manifest's form."""
        return vars(self)


def quantize_bundle(bundle: Bundle, *, data: Path, split: str = "test") -> Loss:
    """Adds an int8 classifier to a bundle, or replaces the one it has; calibrated on ``data/train``.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The Kaggle folder.
        split: Which of its folders the loss is measured on.

    Raises:
        ConversionError: The classifier has nothing to quantise.
    """
    manifest = bundle.manifest
    size = {"height": manifest.input.height, "width": manifest.input.width}
    calibration = read_images(spread(find_samples(data, ["train"]), CALIBRATION_IMAGES), **size)
    fp32 = fold_constants(onnx.load_from_string(bundle.model(manifest.precisions["fp32"].file))).SerializeToString()
    int8, float_layers = quantize(fp32, calibration.pixels)
    test = read_images(find_samples(data, [split]), **size)
    loss = Loss(
        images=len(test.pixels),
        measured_on=f"the {split} folder",
        calibrated_on=f"{len(calibration.pixels)} radiographs of the train folder",
        float_layers=float_layers,
        **_compare(manifest, fp32, int8, test),
    )
    with changing(bundle) as (folder, values):
        (folder / INT8_FILE).write_bytes(int8)
        values["precisions"]["int8"] = {"file": INT8_FILE, "loss": loss.to_json()}
    return loss


def _compare(manifest: Manifest, fp32: bytes, int8: bytes, test: Images) -> dict[str, float]:
    threshold = manifest.operating_points.points[manifest.operating_points.default].threshold
    both = (answer(model, test.pixels, ["logodds", "probability"]) for model in (fp32, int8))
    (before, p_before), (after, p_after) = both
    error = np.abs(after - before)
    return {
        "mean_logodds_error": float(error.mean()),
        "max_logodds_error": float(error.max()),
        "label_agreement": float(((p_before >= threshold) == (p_after >= threshold)).mean()),
        "auroc_difference": float(roc_auc_score(test.labels, after) - roc_auc_score(test.labels, before)),
    }
