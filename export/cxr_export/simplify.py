"""Work that is the same for every image, done once at export instead of at every session start or run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

IR_VERSION = 8  # read by every ONNX Runtime since 1.14


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds the grey copies, the batch normalisation and the constants of a graph; the answers stay.

    Raises:
        onnx.checker.ValidationError: The result would not be a valid model.
    """
    out = _fold_constants(fold_grey(model))
    # The layout of the input is ours to promise; tf2onnx names the batch by a running number.
    for value in [*out.graph.input, *out.graph.output]:
        dim = value.type.tensor_type.shape.dim[0]
        dim.ClearField("dim_value")
        dim.dim_param = "N"
    onnx.checker.check_model(out, full_check=True)
    return out


def fold_grey(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces copies of one grey channel in front of a convolution by the sum of its kernel over the channels.

    Σ_c w_c · x_c with x_c = x for every c is (Σ_c w_c) · x: exact but for rounding. A graph without such copies
    stays as it is.

    Args:
        model: Converted from channels-last: Concat → Transpose to channels-first → Conv.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    producers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        transpose = producers.get(conv.input[0])
        if transpose is None or transpose.op_type != "Transpose":
            continue
        concat = producers.get(transpose.input[0])
        if concat is None or concat.op_type != "Concat" or len(set(concat.input)) > 1:
            continue
        kernel = numpy_helper.to_array(weights[conv.input[1]])
        if kernel.shape[1] != len(concat.input):
            continue
        summed = kernel.astype(np.float64).sum(axis=1, keepdims=True).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(summed, f"{conv.input[1]}/grey"))
        conv.input[1] = f"{conv.input[1]}/grey"
        transpose.input[0] = concat.input[0]
        graph.node.remove(concat)
    return out


def _fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Lets ONNX Runtime fold what does not depend on the machine: its basic level writes standard operators only."""
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
    out.doc_string = ""
    out.graph.ClearField("value_info")
    return out
