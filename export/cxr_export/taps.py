"""One more output of a classifier: what its middle layers see, averaged over the picture.

The last layers have learned to see two classes and little else: photographs land among the radiographs there. Half-way
down, a network still tells textures and shapes apart, and the channels' spatial means cost next to nothing.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from cxr_edge.runtime.networks import DESCRIPTOR
from cxr_edge.runtime.sessions import open_session
from cxr_export.errors import ConversionError

DEPTHS = (0.45, 0.6, 0.85)
"""Where to look, as shares of the way from the first convolution to the last."""
_BATCH = 8


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


def descriptors(model: bytes, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Computes the descriptors, float32 [N, D], of radiographs float32 [N, height, width] in 0..255."""
    session = open_session(model, provider="cpu")
    starts = range(0, len(pixels), _BATCH)
    return np.concatenate([session.run({"pixels": pixels[i : i + _BATCH]}, [DESCRIPTOR])[0] for i in starts])
