"""Changes of an ONNX graph: constant work is done once, an output is added, a calibration is replaced."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cxr_edge.bundle.manifest import Calibration
from cxr_edge.errors import CxrEdgeError
from cxr_edge.runtime.networks import DESCRIPTOR
from cxr_edge.runtime.sessions import open_session

DEPTHS = (0.45, 0.6, 0.85)
"""Where the descriptor looks, as shares of the way from the first convolution to the last."""
_BATCH = 8
IR_VERSION = 8  # read by every ONNX Runtime since 1.14


class ConversionError(CxrEdgeError):
    """A network that cannot be converted or changed as asked: an operator or a layer is not the expected one."""

    kind = "conversion"


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds the grey copies, the input's scale, the batch normalisation and the constants; the answers stay.

    Raises:
        onnx.checker.ValidationError: The result would not be a valid model.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    fold_grey(out.graph)
    out = fold_constants(out)
    fold_scale(out.graph)
    add_first(out.graph)
    # tf2onnx names the batch by a running number.
    for value in [*out.graph.input, *out.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(out, full_check=True)
    return out


def fold_grey(graph: onnx.GraphProto) -> None:
    """Replaces copies of one grey channel in front of a convolution by the sum of its kernel over the channels.

    Σ_c w_c · x_c with x_c = x for every c is (Σ_c w_c) · x: exact but for rounding. A graph without such copies
    (Concat → Transpose to channels-first → Conv) stays as it is.
    """
    producers = {name: node for node in graph.node for name in node.output}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        transpose = producers.get(conv.input[0])
        if transpose is None or transpose.op_type != "Transpose":
            continue
        concat = producers.get(transpose.input[0])
        kernel = constant(graph, conv.input[1])
        if (
            concat is None
            or concat.op_type != "Concat"
            or len(set(concat.input)) > 1
            or kernel.shape[1] != len(concat.input)
        ):
            continue
        set_constant(graph, conv, 1, kernel.sum(axis=1, keepdims=True))
        transpose.input[0] = concat.input[0]
        graph.node.remove(concat)


def fold_scale(graph: onnx.GraphProto) -> None:
    """Moves the scale of ``scale · pixels + offset`` into the first convolution: one pass over the pixels less.

    w * (a · x + b) = (a · w) * (x + b / a). The offset stays in front, where the zero padding of the convolution
    means what it did. A graph that does not begin so stays as it is.
    """
    chain = input_chain(graph)
    arithmetic = [node for node in chain[:-1] if node.op_type in {"Mul", "Add"}]
    if [node.op_type for node in arithmetic] != ["Mul", "Add"]:
        return
    (mul, add), conv = arithmetic, chain[-1]
    scale, offset = constant(graph, mul.input[1]), constant(graph, add.input[1])
    set_constant(graph, add, 1, offset / scale)
    set_constant(graph, conv, 1, constant(graph, conv.input[1]) * scale)
    chain[chain.index(mul) + 1].input[0] = mul.input[0]
    graph.node.remove(mul)
    drop_unused(graph)


def add_first(graph: onnx.GraphProto) -> bool:
    """Adds the offset to the pixels as they come in, and makes them [N, 1, H, W] in one step behind it.

    To an array whose last axis has one entry, [N, H, W, 1], ONNX Runtime adds a scalar value by value: that costs more
    than any depthwise convolution. The sums, and so the answers, are the same to the bit.

    Returns:
        Whether there was such an addition; a graph that does not begin so stays as it is.
    """
    chain = input_chain(graph)[:3]
    if [node.op_type for node in chain] != ["Reshape", "Add", "Transpose"]:
        return False
    reshape, add, transpose = chain
    shape, offset = constant(graph, reshape.input[1]), constant(graph, add.input[1])
    perm = next(list(each.ints) for each in transpose.attribute if each.name == "perm")
    if offset.size != 1 or shape.size != 4 or shape[3] != 1 or perm != [0, 3, 1, 2]:
        return False
    add.input[0], add.output[0] = reshape.input[0], f"{add.output[0]}/first"
    reshape.input[0], reshape.output[0] = add.output[0], transpose.output[0]
    set_constant(graph, reshape, 1, shape[[0, 3, 1, 2]], dtype=np.int64)
    order = [add, reshape, *(node for node in graph.node if node not in (add, reshape, transpose))]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)
    return True


def input_chain(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes from the input to the first convolution, as long as each feeds only the next; else nothing."""
    chain: list[onnx.NodeProto] = []
    name = graph.input[0].name
    while not chain or chain[-1].op_type != "Conv":
        consumers = [node for node in graph.node if name in node.input]
        if len(consumers) != 1 or not consumers[0].output:
            return []
        chain.append(consumers[0])
        name = consumers[0].output[0]
    return chain


def constant(graph: onnx.GraphProto, name: str) -> NDArray[np.float64]:
    """The value of an initializer, in double precision."""
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    return np.asarray(numpy_helper.to_array(tensor), np.float64)


def set_constant(
    graph: onnx.GraphProto, node: onnx.NodeProto, place: int, value: NDArray[Any], *, dtype: type = np.float32
) -> None:
    """Gives one input of a node a constant of its own, so that other nodes keep a shared one."""
    name = f"{node.output[0]}/input_{place}"
    for tensor in [tensor for tensor in graph.initializer if tensor.name == name]:
        graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    while len(node.input) <= place:
        node.input.append("")
    node.input[place] = name


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes the constants that no node takes any more."""
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Lets ONNX Runtime fold what does not depend on the machine: its basic level writes standard operators only.

    The first release's bundle keeps its kernels in blocks of channels, with nodes that bring them back into the usual
    order; here they become constants again.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.fspath(Path(folder) / "basic.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        out = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in out.graph.node}
    opsets = [helper.make_opsetid(o.domain, o.version) for o in out.opset_import if o.domain in used]
    del out.opset_import[:]
    out.opset_import.extend(opsets)
    out.ir_version = IR_VERSION
    out.producer_name = "cxr-export"
    out.graph.ClearField("value_info")
    return out


def describing_tensors(fp32: bytes) -> list[str]:
    """Names the feature maps of a float classifier that make the descriptor.

    Depthwise convolutions are passed over, and the map behind the activation is taken where there is one: the
    quantiser keeps its name.

    Raises:
        ConversionError: The network has no convolution.
    """
    graph = onnx.load_from_string(fp32).graph
    maps = []
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        if any(each.name == "group" and each.i > 1 for each in conv.attribute):
            continue
        behind = [node for node in graph.node if conv.output[0] in node.input]
        activated = len(behind) == 1 and behind[0].op_type in {"Clip", "Relu"}
        maps.append(behind[0].output[0] if activated else conv.output[0])
    if not maps:
        raise ConversionError("the classifier has no convolution whose channels a gate could look at")
    return list(dict.fromkeys(maps[round(depth * (len(maps) - 1))] for depth in DEPTHS))


def with_descriptor(model: bytes, tensors: list[str]) -> bytes:
    """Adds the output ``descriptor``, float32 [N, D], to a classifier, float or quantised; replaces one that is there.

    `GlobalAveragePool` rather than `ReduceMean`: ONNX Runtime computes it in the blocked layout of its convolutions,
    without bringing the map into another.

    Args:
        model: The ONNX file's bytes.
        tensors: From `describing_tensors` of the float classifier.

    Raises:
        ConversionError: The classifier has no such feature map.
    """
    out = onnx.load_from_string(model)
    graph = out.graph
    for node in [node for node in graph.node if node.name.startswith(f"{DESCRIPTOR}/")]:
        graph.node.remove(node)
    for value in [value for value in graph.output if value.name == DESCRIPTOR]:
        graph.output.remove(value)
    there = {name for node in graph.node for name in node.output}
    pools = []
    for row, tensor in enumerate(tensors):
        # A quantised map is read where the next layer reads it, or the convolution before it would stay in float.
        read = next((name for name in (f"{tensor}_DequantizeLinear_Output", tensor) if name in there), None)
        if read is None:
            raise ConversionError(f"the classifier has no feature map {tensor}; export the bundle again")
        pools.append(f"{DESCRIPTOR}/{row}")
        graph.node.append(helper.make_node("GlobalAveragePool", [read], [pools[-1]], name=pools[-1]))
    join, flat = f"{DESCRIPTOR}/join", f"{DESCRIPTOR}/flat"
    graph.node.append(helper.make_node("Concat", pools, [join], name=join, axis=1))
    graph.node.append(helper.make_node("Flatten", [join], [DESCRIPTOR], name=flat, axis=1))
    graph.output.append(helper.make_tensor_value_info(DESCRIPTOR, onnx.TensorProto.FLOAT, ["N", None]))
    onnx.checker.check_model(out, full_check=True)
    return out.SerializeToString()


def with_calibration(data: bytes, calibration: Calibration) -> bytes:
    """Gives a classifier graph another scale and bias.

    Args:
        data: A classifier with the outputs ``logodds`` and ``probability``.
        calibration: What to put in.

    Raises:
        ConversionError: Between the two lies something else than a product, at most a sum, and a sigmoid.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    chain: list[onnx.NodeProto] = []
    name = "probability"
    while name != "logodds" and name in producers and len(chain) < 3:
        chain.insert(0, producers[name])
        name = chain[0].input[0]
    if name != "logodds" or [node.op_type for node in chain] not in (["Mul", "Sigmoid"], ["Mul", "Add", "Sigmoid"]):
        found = [node.op_type for node in chain]
        raise ConversionError(f"the probability comes from the log-odds by {found}, expected Mul, Add and Sigmoid")
    for node in chain:
        graph.node.remove(node)
    scaled, shifted = "calibrated/scaled", "calibrated/shifted"
    multiply = helper.make_node("Mul", ["logodds", ""], [scaled])
    add = helper.make_node("Add", [scaled, ""], [shifted])
    steps = [multiply, add] if calibration.bias else [multiply]
    graph.node.extend([*steps, helper.make_node("Sigmoid", [steps[-1].output[0]], ["probability"])])
    set_constant(graph, graph.node[-1 - len(steps)], 1, np.array(calibration.scale))
    if calibration.bias:
        set_constant(graph, graph.node[-2], 1, np.array(calibration.bias))
    drop_unused(graph)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def answer(model: bytes, pixels: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
    """Runs a network over radiographs uint8 [N, height, width]; one array [N, ...] for each output."""
    session = open_session(model, provider="cpu")
    parts = [session.run(batch, list(outputs)) for batch in batches_of(pixels)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def batches_of(pixels: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Cuts radiographs uint8 [N, height, width] into what a network takes at a time."""
    return ({"pixels": pixels[i : i + _BATCH].astype(np.float32)} for i in range(0, len(pixels), _BATCH))
