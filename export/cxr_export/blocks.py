"""Convolution kernels stored once, as ONNX Runtime lays them out in blocks of channels, and unfolded by the graph.

So the prepared graph of `cxr_export.prepare` can map them out of the classifier's own file, which stays an ONNX file
like any other: in it a Transpose and a Reshape of constants, which every runtime computes once when it loads the
graph, give the kernels their usual order. Layouts as in ONNX Runtime's MLAS: [O/b, I/b, H, W, b of I, b of O], and
[O/b, I, H, W, b of O] for depthwise convolutions and for those with few input channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cxr_export.simplify import drop_unused

ALIGNMENT = 64  # bytes of a cache line
_BLOCKED = "/blocked"
_SHAPE = "/shape"


def fold(model: onnx.ModelProto, optimised: onnx.ModelProto, block: int) -> None:
    """Stores the kernels that an optimised graph has in blocks in the same order in the general graph.

    Args:
        model: The general graph; changed. Its answers stay, to the bit.
        optimised: The same by ONNX Runtime, with its layout.
        block: Channels side by side.
    """
    graph = model.graph
    laid_out = {numpy_helper.to_array(tensor).tobytes() for tensor in optimised.graph.initializer}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    unfolding = []
    for name in dict.fromkeys(node.input[1] for node in graph.node if node.op_type == "Conv"):
        if name not in tensors:
            continue
        kernel = numpy_helper.to_array(tensors[name])
        for stored, back in _layouts(kernel, block):
            if stored.tobytes() in laid_out:
                graph.initializer.remove(tensors[name])
                shape = np.array(kernel.shape, np.int64)
                graph.initializer.append(numpy_helper.from_array(stored, f"{name}{_BLOCKED}"))
                graph.initializer.append(numpy_helper.from_array(shape, f"{name}{_SHAPE}"))
                unfolding += [
                    helper.make_node("Transpose", [f"{name}{_BLOCKED}"], [f"{name}/back"], perm=back),
                    helper.make_node("Reshape", [f"{name}/back", f"{name}{_SHAPE}"], [name]),
                ]
                break
    _replace_nodes(graph, [*unfolding, *graph.node])


def unfolded(data: bytes) -> onnx.ModelProto:
    """Reads a classifier whose kernels are constants in their usual order again; for what looks at kernels.

    Args:
        data: An ONNX file, folded or not.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    gone = set()
    for name in [node.output[0] for node in graph.node if f"{node.output[0]}{_BLOCKED}" in tensors]:
        transpose = makers[makers[name].input[0]]
        perm = next(list(each.ints) for each in transpose.attribute if each.name == "perm")
        kernel = tensors[f"{name}{_BLOCKED}"].transpose(perm).reshape(tensors[f"{name}{_SHAPE}"])
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), name))
        gone |= {name, transpose.output[0]}
    _replace_nodes(graph, [node for node in graph.node if node.output[0] not in gone])
    drop_unused(graph)
    return model


def aligned(model: onnx.ModelProto, least: int) -> bytes:
    """Writes a model so that every constant begins at a multiple of 64 bytes in its file.

    The remark of each constant is filled until the next one lies where it should.

    Args:
        model: Changed: its constants are sorted by size, and remarks are written.
        least: Bytes from which on a constant counts.
    """
    graph = model.graph
    tensors = sorted(graph.initializer, key=lambda tensor: (len(tensor.raw_data), tensor.name))
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
    for before, tensor in zip(graph.initializer, list(graph.initializer)[1:], strict=False):
        if len(tensor.raw_data) < least:
            continue
        filling = 1
        for _ in range(4):  # a longer remark may need another byte for its length
            before.doc_string = "." * filling
            wrong = model.SerializeToString().find(tensor.raw_data) % ALIGNMENT
            if not wrong:
                break
            filling += ALIGNMENT - wrong
    return bytes(model.SerializeToString())


def _layouts(kernel: NDArray[np.float32], b: int) -> Iterable[tuple[NDArray[np.float32], list[int]]]:
    """Both layouts of a kernel [O, I, H, W], each with the order of axes that leads back."""
    o, i, h, w = kernel.shape
    if o % b:
        return
    if not i % b:
        both = kernel.reshape(o // b, b, i // b, b, h, w).transpose(0, 2, 4, 5, 3, 1)
        yield np.ascontiguousarray(both), [0, 5, 1, 4, 2, 3]
    outer = kernel.reshape(o // b, b, i, h, w).transpose(0, 2, 3, 4, 1)
    yield np.ascontiguousarray(outer), [0, 4, 1, 2, 3]


def _replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
