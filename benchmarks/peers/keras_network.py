"""The shipped network in Keras again, weight by weight from its ONNX graph, so that both sides compute the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def rebuild(classifier: Path) -> Any:
    """Build the Keras network that gives the logits of an exported classifier.

    Batch normalisation was folded into the convolutions at export; it becomes the identity plus the bias here.

    Args:
        classifier: The ``classifier.onnx`` of a bundle made by ``cxr-export bundle`` from a MobileNet.
    """
    from cxr_train.network import build_network

    graph = onnx.load(classifier).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    network = build_network("mobilenet")
    names = ["conv1"] + [f"conv_{kind}_{block}" for block in range(1, 14) for kind in ("dw", "pw")]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for name, node in zip(names, convolutions, strict=True):
        kernel, bias = constants[node.input[1]], constants[node.input[2]]
        network.get_layer(name).set_weights([_to_keras(name, kernel)])
        size = len(bias)
        identity = np.sqrt(1 + network.get_layer(f"{name}_bn").epsilon)
        network.get_layer(f"{name}_bn").set_weights([np.full(size, identity), bias, np.zeros(size), np.ones(size)])
    dense = [node for node in graph.node if node.op_type == "Gemm"]
    for name, node in zip(("hidden", "logits"), dense, strict=True):
        network.get_layer(name).set_weights([constants[node.input[1]], constants[node.input[2]]])
    return network


def _to_keras(name: str, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "conv1":  # the three equal channels were summed, and 1/127.5 was folded in
        whole = np.zeros((*kernel.shape[2:], 3, len(kernel)), np.float32)
        whole[:, :, 0] = kernel[:, 0].transpose(1, 2, 0) * np.float32(127.5)
        return whole
    return kernel.transpose(2, 3, 0, 1) if "_dw_" in name else kernel.transpose(2, 3, 1, 0)
