"""A bundle's network as a Keras model again, so that a training can go on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_train.fit import logodds, save_network
from cxr_train.network import build_network

TOLERANCE = 1e-3
"""Log-odds on noise; the two sum in another order, which is all that may differ."""


def write_network(bundle: Bundle, out: Path) -> float:
    """Writes a ``.keras`` file that ``cxr-train fit --weights`` goes on from.

    The export has folded each batch normalisation into the convolution before it. Here the convolution keeps the
    folded kernel, and the normalisation only adds its offset: the same function, other parameters.

    Args:
        bundle: An opened bundle.
        out: File to write, whole or not at all.

    Returns:
        The largest difference of the log-odds from those of the bundle, on noise.

    Raises:
        UsageError: ``out`` does not end in ``.keras`` or is there already, or the ``export`` extra is missing.
        BundleError: The bundle's network is no MobileNet as `build_network` builds it, or answers otherwise.
    """
    if out.suffix != ".keras":
        raise UsageError(f"{out}: the name of the file must end in .keras")
    if out.exists():
        raise UsageError(f"{out}: is there already; remove it or choose another --out")
    classifier = Classifier(bundle, gate=False)
    spec = bundle.manifest.input
    network = build_network("mobilenet", height=spec.height, width=spec.width)
    _assign(network, bundle)
    noise = np.random.default_rng(0).integers(0, 256, (16, spec.height, spec.width), np.uint8)
    difference = float(np.abs(logodds(network, noise) - classifier.logodds(noise.astype(np.float32))).max())
    if not difference <= TOLERANCE:
        raise BundleError(f"{bundle.folder}: the Keras network's log-odds differ by {difference:.2g}; none was written")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_network(network, out)
    return difference


def _assign(network: Any, bundle: Bundle) -> None:
    graph, constants = _read(bundle.model(bundle.manifest.precisions["fp32"].file))
    layers = [layer for layer in network.layers if layer.weights]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    dense = [node for node in graph.node if node.op_type == "Gemm"]
    kernels = [layer for layer in layers if not layer.name.endswith("_bn")]
    if len(kernels) != len(convolutions) + len(dense):
        raise BundleError(f"{bundle.folder}: has {len(convolutions)} convolutions; a MobileNet has 27")
    for layer, node in zip(kernels, [*convolutions, *dense], strict=True):
        kernel, offset = (constants[name] for name in node.input[1:3])
        if node.op_type == "Gemm":
            _set(layer, kernel, offset)
            continue
        order = (2, 3, 0, 1) if layer.name.startswith("conv_dw") else (2, 3, 1, 0)
        folded = kernel.transpose(order)
        if layer.name == "conv1":  # of one grey channel that is not divided by 127.5
            folded = np.repeat(folded * 127.5 / 3, 3, axis=2)
        _set(layer, folded)
        normalisation = network.get_layer(f"{layer.name}_bn")
        one = np.ones_like(offset)
        _set(normalisation, one, offset, 0 * one, one - normalisation.epsilon)


def _read(data: bytes) -> tuple[Any, dict[str, NDArray[np.float32]]]:
    """The graph and its constants; kernels that the file stores in another order get the usual one."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError("reading a network needs onnx: run pip install 'cxr-edge[export]'") from error
    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in constants:
            order = next(list(each.ints) for each in node.attribute if each.name == "perm")
            constants[node.output[0]] = constants[node.input[0]].transpose(order)
        elif node.op_type == "Reshape" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]].reshape(constants[node.input[1]])
    return graph, constants


def _set(layer: Any, *values: Any) -> None:
    if [each.shape for each in layer.get_weights()] != [each.shape for each in values]:
        raise BundleError(f"the bundle's layer {layer.name} is not of MobileNet's shape")
    layer.set_weights(values)
