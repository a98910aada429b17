"""LayerCAM in a bundle: the backward pass through the shipped classifier, as ONNX operators, without another weight.

What is written continues the classifier: an ONNX file is a protocol buffer, and two of them one behind the other are
read as one whose lists are joined (Protocol Buffers, "Encoding", last one wins). So ``layercam.onnx`` holds nodes and
outputs only, and takes activations and weights from the classifier by name. ``cat classifier.onnx layercam.onnx`` is a
complete network: radiographs → answer and maps, in one pass. Kernels are transposed and flipped by nodes that ONNX
Runtime computes once, when it loads the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.networks import HIRESCAM, LAYERCAM
from cxr_export.bundle import changing
from cxr_export.edits import IR_VERSION, ConversionError, constant

LAYERCAM_FILE = "layercam.onnx"
SIZES = 3
"""Maps of so many resolutions, from the last one up: 7 x 7, 14 x 14 and 28 x 28 cells of a MobileNet."""
_LARGE = 1e36
GRADIENT = "layercam/gradient"
"""A gradient's name is this with the rows of its map."""


@dataclass(frozen=True)
class Layer:
    """A feature map that LayerCAM looks at.

    Attributes:
        tensor: Its name in the graph, behind its activation; [N, channels, height, width].
    """

    tensor: str
    channels: int
    height: int
    width: int

    def to_json(self) -> dict[str, int]:
        """What the manifest says of it."""
        return {"height": self.height, "width": self.width, "channels": self.channels}


def add_layercam(bundle: Bundle) -> dict[str, Any]:
    """Adds LayerCAM to a bundle, or replaces the one that it has; its folder is replaced in one step.

    Args:
        bundle: An opened bundle.

    Returns:
        The manifest's entry, with the size of the file in bytes.

    Raises:
        ConversionError: The classifier holds an operator whose gradient is not known here.
        ParityError: The bundle would not answer as before; nothing was written.
    """
    data, layers = layercam_graph(bundle.model(bundle.manifest.precisions["fp32"].file))
    with changing(bundle) as (folder, values):
        (folder / LAYERCAM_FILE).write_bytes(data)
        values["layercam"] = entry = {"file": LAYERCAM_FILE, "layers": [layer.to_json() for layer in layers]}
    return {**entry, "bytes": len(data)}


def layercam_graph(classifier: bytes, *, sizes: int = SIZES) -> tuple[bytes, list[Layer]]:
    """Gives what a classifier lacks to map its log-odds.

    Outputs, with P the cells of all layers, one layer behind the other, row by row: ``layercam`` float32 [N, 2, P], for
    the negative and the positive label Σ_k ReLU(g_k)·A_k (Jiang et al. 2021, equations 6 and 8), g the gradient of that
    label's log-odds with respect to the activation A ≥ 0; ``hirescam`` float32 [N, P], Σ_k g_k·A_k for the positive
    label (Draelos and Carin 2020, equation 3).

    Args:
        classifier: ``pixels`` → ``logodds``, as an ONNX file's bytes.
        sizes: The last layer of so many resolutions is taken.

    Returns:
        The ONNX file's bytes, to be put behind those of the classifier, and the layers, coarse to fine.

    Raises:
        ConversionError: An operator between log-odds and layers has no gradient here.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(classifier), strict_mode=True)
    backward = _Backward(model.graph)
    layers = _layers(backward, sizes)
    backward.run({layer.tensor for layer in layers})
    rows: dict[str, list[str]] = {"negative": [], "positive": [], "signed": []}
    for layer in layers:
        gradient = backward.add("Identity", [backward.gradients[layer.tensor]], name=f"{GRADIENT}/{layer.height}")
        flat = backward.constant(np.array([-1, layer.channels, layer.height * layer.width], np.int64))
        product = backward.add("Reshape", [backward.add("Mul", [layer.tensor, gradient]), flat])
        # Sums over the channels: a product of matrices is four times as fast as ReduceSum.
        ones = backward.constant(np.ones((1, 1, layer.channels), np.float32))
        signed = backward.add("MatMul", [ones, product])
        positive = backward.add("MatMul", [ones, backward.add("Relu", [product])])
        # g·A is a positive part less a negative one, and A is never negative.
        negative = backward.add("Relu", [backward.add("Sub", [positive, signed])])
        for kind, tensor in (("negative", negative), ("positive", positive), ("signed", signed)):
            rows[kind].append(tensor)
    negative, positive, signed = (backward.add("Concat", each, axis=2) for each in rows.values())
    backward.add("Concat", [negative, positive], name=LAYERCAM, axis=1)
    backward.add("Flatten", [signed], name=HIRESCAM, axis=1)
    cells = sum(layer.height * layer.width for layer in layers)
    shapes: dict[str, list[int | str | None]] = {LAYERCAM: ["N", 2, cells], HIRESCAM: ["N", cells]}
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = onnx.GraphProto(node=backward.nodes, output=outputs, initializer=backward.constants)
    data = onnx.ModelProto(graph=graph).SerializeToString()
    whole = onnx.load_from_string(classifier + data)
    whole.ir_version = IR_VERSION
    onnx.checker.check_model(whole, full_check=True)
    return data, layers


def _layers(backward: _Backward, sizes: int) -> list[Layer]:
    """The last activation of each resolution, among those behind a convolution that mixes channels."""
    found: dict[int, Layer] = {}
    for node in backward.graph.node:
        if node.op_type not in {"Relu", "Clip"}:
            continue
        conv, shape = backward.producers.get(node.input[0]), backward.shape(node.output[0])
        if conv is None or conv.op_type != "Conv" or len(shape) != 4:
            continue
        if shape[1] != 1 and backward.attribute(conv, "group", 1) == 1:
            found[shape[2]] = Layer(node.output[0], *shape[1:])
    if not found:
        raise ConversionError("the classifier has no convolution with a ReLU behind it that LayerCAM could look at")
    return [found[height] for height in sorted(found)[:sizes]]


@dataclass
class _Backward:
    """Reverse-mode differentiation of a graph's log-odds, node by node; the classifier's own tensors are shared."""

    graph: onnx.GraphProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    gradients: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producers = {name: node for node in self.graph.node for name in node.output}
        stated = [*self.graph.value_info, *self.graph.input, *self.graph.output]
        self._shapes = {each.name: [d.dim_value for d in each.type.tensor_type.shape.dim] for each in stated}
        self._stored, self._known = {tensor.name for tensor in self.graph.initializer}, dict[bytes, str]()

    def run(self, wanted: set[str]) -> None:
        """Goes back from the log-odds until every wanted tensor has its gradient.

        Each tensor on the way may feed only one node on the way: there is one path, and nothing to sum up.
        """
        self.gradients["logodds"] = self.constant(np.ones(1, np.float32))
        tensor = "logodds"
        missing = set(wanted)
        while missing:
            node = self.producers.get(tensor)
            kind = node.op_type if node else "input"
            if node is None or (rule := _RULES.get(kind)) is None:
                raise ConversionError(f"no gradient of {kind} ({tensor}) is known to {__name__}; add it to _RULES")
            source = next(name for name in node.input if name not in self._stored)
            self.gradients[source] = rule(self, node, self.gradients[tensor])
            missing.discard(source)
            tensor = source

    def add(self, operator: str, inputs: Sequence[str], *, name: str = "", **attributes: Any) -> str:
        """Appends a node with one output; gives the output's name."""
        name = name or f"layercam/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Gives the name of a constant, which is appended where there is none like it."""
        tensor = numpy_helper.from_array(np.asarray(value))
        content = tensor.SerializeToString()
        if content not in self._known:
            tensor.name = self._known[content] = f"layercam/constant/{len(self.constants)}"
            self.constants.append(tensor)
        return self._known[content]

    def shape(self, tensor: str) -> list[int]:
        """The tensor's shape; 0 stands for the batch."""
        return self._shapes.get(tensor, [])

    def attribute(self, node: onnx.NodeProto, name: str, default: Any) -> Any:
        """One attribute of a node."""
        return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)

    def axes(self, node: onnx.NodeProto) -> NDArray[np.int64]:
        """The axes that a node of opset 18 takes as its second input."""
        return np.array(constant(self.graph, node.input[1]), np.int64)


def _activation(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    """ReLU and ReLU6, from the activation a itself: the gradient passes where a > 0, and (6 - a)·a > 0.

    What is above 0 becomes 1 by a large factor and a limit, exactly so from 1e-36 on. All steps on maps are products
    and convolutions of single cells: those ONNX Runtime computes in the blocks of channels that its convolutions take
    (NCHWc); anything else makes it copy every activation into another order and back.
    """
    passes, shape = node.output[0], backward.shape(node.output[0])
    if len(shape) == 2 and node.op_type == "Relu":
        return backward.add("Mul", [gradient, backward.add("Sign", [passes])])

    def linear(tensor: str, factor: float, offset: float = 0.0) -> str:
        values = [np.full((shape[1], 1, 1, 1), factor, np.float32), np.full(shape[1], offset, np.float32)]
        return backward.add("Conv", [tensor, *map(backward.constant, values)], kernel_shape=[1, 1], group=shape[1])

    if node.op_type == "Clip":
        if len(node.input) != 3 or len(shape) != 4 or constant(backward.graph, node.input[1]) != 0:
            raise ConversionError(f"{passes}: expected a ReLU, or on a map a Clip between 0 and a constant")
        passes = backward.add("Mul", [passes, linear(passes, -1.0, float(constant(backward.graph, node.input[2])))])
    ends = map(backward.constant, (np.float32(0), np.float32(1)))
    return backward.add("Mul", [gradient, backward.add("Clip", [linear(passes, _LARGE), *ends])])


def _conv(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    """The convolution of the gradient, with zeros between its cells where there was a stride, by the flipped kernel."""
    kernel = constant(backward.graph, node.input[1])
    source, result = backward.shape(node.input[0]), backward.shape(node.output[0])
    groups, size = backward.attribute(node, "group", 1), kernel.shape[2:]
    strides = backward.attribute(node, "strides", [1, 1])
    pads = backward.attribute(node, "pads", [0, 0, 0, 0])
    # In front k - 1 - p zeros, behind what is left of the input.
    front = [size[i] - 1 - pads[i] for i in (0, 1)]
    behind = [source[2 + i] - result[2 + i] * strides[i] + pads[i] for i in (0, 1)]
    plain = backward.attribute(node, "dilations", [1, 1]) == [1, 1]
    plain = plain and backward.attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    if not (groups == 1 or groups == kernel.shape[0] == source[1]) or not plain or min(*front, *behind) < 0:
        raise ConversionError(f"{node.output[0]}: no gradient of a convolution with these groups, pads or dilations")
    if strides != [1, 1]:
        gradient = _spread(backward, gradient, result, strides)
    weights = node.input[1]
    if groups == 1:
        weights = backward.add("Transpose", [weights], perm=[1, 0, 2, 3])
    if max(size) > 1:
        ends = [np.array(each, np.int64) for each in ([-1, -1], [np.iinfo(np.int64).min] * 2, [2, 3], [-1, -1])]
        weights = backward.add("Slice", [weights, *map(backward.constant, ends)])
    shape = {"kernel_shape": list(size), "pads": [*front, *behind], "group": groups}
    return backward.add("Conv", [gradient, weights], **shape)


def _spread(backward: _Backward, gradient: str, shape: list[int], strides: list[int]) -> str:
    """Puts zeros behind every row and every column: [N, C, h, w] → [N, C, h·s, w·s].

    Every cell is repeated, and the copies are multiplied by 0: ONNX Runtime takes an eighth of the time of a `Pad`.
    """
    scales = backward.constant(np.array([1, 1, *strides], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    repeated = backward.add("Resize", [gradient, "", scales], **nearest)
    first = np.zeros((1, 1, shape[2] * strides[0], shape[3] * strides[1]), np.float32)
    first[:, :, :: strides[0], :: strides[1]] = 1
    return backward.add("Mul", [repeated, backward.constant(first)])


def _gemm(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    factors = {backward.attribute(node, "alpha", 1.0), backward.attribute(node, "beta", 1.0)}
    if factors != {1.0} or backward.attribute(node, "transA", 0):
        raise ConversionError(f"{node.output[0]}: expected a Gemm without factors")
    return backward.add("Gemm", [gradient, node.input[1]], transB=1 - backward.attribute(node, "transB", 0))


def _sum(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    if node.op_type != "Squeeze" and backward.attribute(node, "keepdims", 1):
        return gradient
    return backward.add("Unsqueeze", [gradient, backward.constant(backward.axes(node))])


def _mean(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    cells = int(np.prod([backward.shape(node.input[0])[axis] for axis in backward.axes(node)]))
    return backward.add("Div", [_sum(backward, node, gradient), backward.constant(np.float32(cells))])


def _transpose(backward: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    order = backward.attribute(node, "perm", None)
    return backward.add("Transpose", [gradient], perm=[order.index(axis) for axis in range(len(order))])


_RULES: dict[str, Callable[[_Backward, onnx.NodeProto, str], str]] = {
    "Add": lambda _backward, _node, gradient: gradient,
    "Clip": _activation,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda backward, node, gradient: backward.add(
        "MatMul", [gradient, backward.add("Transpose", [node.input[1]], perm=[1, 0])]
    ),
    "Mul": lambda backward, node, gradient: backward.add("Mul", [gradient, node.input[1]]),
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Relu": _activation,
    "Squeeze": _sum,
    "Transpose": _transpose,
}
"""By operator: from the gradient of a node's output to that of its input. Gradients that are the same at every place or
for every radiograph keep an axis of one."""
