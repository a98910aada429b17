"""The classifiers: the published MobileNet, also as a bundle holds it, and the small CNN it was compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_train.runs import save_whole

ARCHITECTURES = ("mobilenet", "small-cnn")
MOBILENET_PARAMETERS = 3_491_778
MOBILENET_TRAINABLE = 2_926_338
FROZEN_THROUGH = "conv_dw_8_relu"
TOLERANCE = 1e-3
"""Log-odds on noise; the two sum in another order, which is all that may differ."""


def build_network(
    arch: str,
    *,
    weights: str | Path | None = None,
    l2: float = 1e-4,
    dropout: float = 0.3,
    height: int = 224,
    width: int = 224,
) -> Any:
    """Builds a classifier of grey radiographs.

    Input ``pixels`` float32 [N, H, W] in 0..255; output ``logits`` float32 [N, 2] for NORMAL and PNEUMONIA.
    The layer ``pooled`` averages the last feature map; ``hidden`` is the 256-unit ReLU layer behind it.

    Args:
        arch: ``mobilenet`` (Howard et al. 2017, width 1.0) or ``small-cnn``.
        weights: ``imagenet`` (Keras downloads it), a ``.weights.h5`` file of MobileNet without its top, a ``.keras``
            file of such a network (from a run, or from ``cxr-train network``) to go on from, or None.
        l2: Weight of the squared norm of the hidden layer's kernel in the loss.
        dropout: Share of hidden units dropped in training.
        height: Input height in pixels.
        width: Input width in pixels.

    Raises:
        UsageError: Unknown architecture, or weights for a network that has none.
    """
    earlier = None
    if isinstance(weights, str | Path) and Path(weights).suffix == ".keras":
        earlier, weights = _read_network(Path(weights)), None
    pixels = keras.Input((height, width), name="pixels")
    x = keras.layers.Reshape((height, width, 1), name="grey")(pixels)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalised")(x)
    if arch == "mobilenet":
        features = _mobilenet_features(x, weights)
    elif arch == "small-cnn":
        if weights not in (None, "none"):
            raise UsageError("--arch small-cnn is trained from scratch: use --weights none")
        features = _small_cnn_features(x)
    else:
        raise UsageError(f"unknown architecture {arch!r}: choose from {', '.join(ARCHITECTURES)}")
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(features)
    x = keras.layers.Dense(256, activation="relu", kernel_regularizer=keras.regularizers.L2(l2), name="hidden")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(2, name="logits")(x)
    network = keras.Model(pixels, logits, name=arch.replace("-", "_"))
    if arch == "mobilenet" and network.count_params() != MOBILENET_PARAMETERS:
        raise AssertionError(f"MobileNet has {network.count_params()} parameters, not {MOBILENET_PARAMETERS}")
    if earlier is not None:
        _take_over(network, earlier)
    return network


def freeze_through(network: Any, layer: str | None = FROZEN_THROUGH) -> None:
    """Freezes every layer up to and including the named one; None unfreezes all."""
    frozen = layer is not None
    if frozen and layer not in {each.name for each in network.layers}:
        raise UsageError(f"cannot freeze through {layer!r}: the network has no layer of that name")
    for each in network.layers:
        each.trainable = not frozen
        if each.name == layer:
            frozen = False


def logodds(network: Any, pixels: NDArray[np.uint8], *, batch: int = 64) -> NDArray[np.float32]:
    """Uncalibrated log-odds of PNEUMONIA, float32 [N], for images uint8 [N, H, W]."""
    logits = [
        np.asarray(network(pixels[start : start + batch].astype(np.float32), training=False))
        for start in range(0, len(pixels), batch)
    ]
    rows = np.concatenate(logits)
    return rows[:, 1] - rows[:, 0]


def _read_network(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no Keras network that can be read ({error})") from error


def _take_over(network: Any, earlier: Any) -> None:
    values = {layer.name: layer.get_weights() for layer in earlier.layers if layer.count_params()}
    layers = {layer.name: layer for layer in network.layers if layer.count_params()}
    for name, layer in layers.items():
        if [each.shape for each in layer.get_weights()] != [each.shape for each in values.get(name, [])]:
            raise UsageError(f"the network to go on from is another one: its layer {name} does not fit")
        layer.set_weights(values[name])


def _mobilenet_features(x: Any, weights: str | Path | None) -> Any:
    if isinstance(weights, str | Path) and str(weights) not in {"imagenet", "none"} and not Path(weights).is_file():
        raise UsageError(f"{weights}: no such weights file; use --weights imagenet, none or a .weights.h5 file")
    x = keras.layers.Concatenate(name="grey_to_rgb")([x, x, x])
    base = keras.applications.MobileNet(
        input_tensor=x, include_top=False, weights=None if weights in (None, "none") else str(weights)
    )
    return base.output


def _small_cnn_features(x: Any) -> Any:
    for block, channels in enumerate((16, 32, 64, 128), start=1):
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv_{block}")(x)
        x = keras.layers.BatchNormalization(name=f"conv_{block}_bn")(x)
        x = keras.layers.ReLU(name=f"conv_{block}_relu")(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{block}")(x)
    x = keras.layers.Conv2D(256, 3, padding="same", use_bias=False, name="conv_5")(x)
    x = keras.layers.BatchNormalization(name="conv_5_bn")(x)
    return keras.layers.ReLU(name="conv_5_relu")(x)


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
    save_whole(network.save, out)
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
