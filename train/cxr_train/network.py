"""The two architectures: the published MobileNet and the small CNN it was compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from cxr_edge.errors import UsageError

ARCHITECTURES = ("mobilenet", "small-cnn")
MOBILENET_PARAMETERS = 3_491_778
MOBILENET_TRAINABLE = 2_926_338
FROZEN_THROUGH = "conv_dw_8_relu"


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
