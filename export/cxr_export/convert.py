"""From Keras to ONNX: the graphs of a bundle, traced from the trained networks and converted by tf2onnx.

Grad-CAM's gradient (Selvaraju et al. 2017, equation 1) comes from a tape over the head and is taken with
respect to the pooled vector; the chain rule through the average pooling, d pooled / d feature = 1 / (h · w), is
written out. A tape over the pooling would need operators that tf2onnx does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from cxr_export.edits import ConversionError
from cxr_train.runs import MODEL_FILE, Run, RunError

OPSET = 18


@dataclass(frozen=True, eq=False)
class Exportable:
    """A trained classifier, cut in two at its last feature map.

    Attributes:
        run: The run that it comes from.
        body: Keras model, ``pixels`` float32 [N, H, W] → features float32 [N, h, w, channels].
        head: Keras model, pooled features float32 [N, channels] → logits float32 [N, 2].
        scale: Of the calibration: probability = sigmoid(scale · log-odds + bias).
        bias: Of the calibration.
    """

    run: Run
    body: Any
    head: Any
    scale: float
    bias: float

    @classmethod
    def open(cls, path: Path) -> Exportable:
        """Loads a finished run and cuts its network at the layer ``pooled``.

        Raises:
            RunError: A file is missing or damaged, or the network has no global average pooling named ``pooled``
                between its last feature map and its two logits.
        """
        run = Run.open(path)
        _ = run.metrics  # a run that was not measured is not finished
        chosen = run.calibration["calibration"]
        return cls(run, *_cut(run.network, path / MODEL_FILE), chosen["scale"], chosen["bias"])

    @property
    def features(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature map."""
        height, width, channels = self.body.output_shape[1:]
        return height, width, channels

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        height, width = self.body.input_shape[1:]
        return height, width


def classifier_graph(network: Exportable) -> onnx.ModelProto:
    """Radiographs to answers.

    Input ``pixels`` float32 [N, H, W] in 0..255. Outputs ``logodds`` float32 [N] (z_PNEUMONIA - z_NORMAL,
    uncalibrated), ``probability`` float32 [N] (calibrated, of PNEUMONIA), ``features`` float32 [N, h, w, channels].

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        features = network.body(pixels, training=False)
        logits = network.head(tf.reduce_mean(features, (1, 2)), training=False)
        logodds = tf.reduce_sum(logits * [-1.0, 1.0], 1)
        return {
            "logodds": logodds,
            "probability": tf.sigmoid(logodds * network.scale + network.bias),
            "features": features,
        }

    return convert(answer, [tf.TensorSpec((None, *network.input_size), tf.float32, "pixels")])


def gradcam_graph(network: Exportable) -> onnx.ModelProto:
    """Features to the gradient of one class's logit and to its class activation map.

    Inputs ``features`` float32 [N, h, w, channels] and ``target`` int64 [N] (0 NORMAL, 1 PNEUMONIA). Outputs
    ``gradients`` float32 [N, h, w, channels] and ``map`` float32 [N, h, w], equation 2 of Selvaraju et al. 2017:
    ReLU of the features weighted by the spatial means of their gradients.

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """
    height, width, channels = network.features

    def explain(features: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        pooled = tf.reduce_mean(features, (1, 2))
        with tf.GradientTape() as tape:
            tape.watch(pooled)
            logits = network.head(pooled, training=False)
        slope = tape.gradient(logits, pooled, output_gradients=tf.one_hot(target, 2)) / (height * width)
        weights = tf.reshape(slope, (-1, 1, 1, channels))
        return {
            "gradients": tf.tile(weights, (1, height, width, 1)),
            "map": tf.nn.relu(tf.reduce_sum(features * weights, 3)),
        }

    return convert(
        explain,
        [tf.TensorSpec((None, *network.features), tf.float32, "features"), tf.TensorSpec((None,), tf.int64, "target")],
    )


def lung_graph(network: Any) -> onnx.ModelProto:
    """Radiographs to lungs.

    Input ``pixels`` float32 [N, H, W] in 0..255. Output ``lungs`` float32 [N, h, w], the log-odds of lung.

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """

    def outline(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"lungs": network(pixels, training=False)}

    return convert(outline, [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, "pixels")])


def _relu_grad(ctx: Any, node: Any, _name: str, _args: list[Any]) -> None:
    """ReluGrad(gradient, activation): the gradient where the activation is positive, else 0."""
    gradient, activation = node.input
    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    output = node.output[0]
    ctx.remove_node(node.name)
    zero = ctx.make_const(tf2onnx.utils.make_name("zero"), np.float32(0)).output[0]
    positive = ctx.make_node("Greater", [activation, zero]).output[0]
    ctx.make_node("Where", [positive, gradient, zero], outputs=[output], shapes=[shape], dtypes=[dtype])


HANDLERS: Mapping[str, tuple[Callable[..., None], list[Any]]] = {"ReluGrad": (_relu_grad, [])}
"""What tf2onnx lacks, by TensorFlow operator; a new head's gradient may need another entry."""


def convert(function: Callable[..., Any], signature: list[tf.TensorSpec]) -> onnx.ModelProto:
    """Traces a function of tensors and converts it.

    Args:
        function: Returns its outputs by name.
        signature: Its inputs.

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """
    # tf2onnx logs an operator it does not know and goes on; the check below is the one message about it.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    model, _ = tf2onnx.convert.from_function(
        tf.function(function), input_signature=signature, opset=OPSET, custom_op_handlers=dict(HANDLERS)
    )
    unknown = sorted(
        {f"{node.op_type} (at {node.name})" for node in model.graph.node if not _known(node.op_type, node.domain)}
    )
    if unknown:
        raise ConversionError(
            f"no ONNX counterpart for the TensorFlow operator {', '.join(unknown)}; use a layer made of "
            f"convolution, pooling, dense, ReLU or batch normalisation in its place, "
            f"or add the operator to HANDLERS in {__name__}"
        )
    return model


def _known(operator: str, domain: str) -> bool:
    return domain not in ("", "ai.onnx") or onnx.defs.has(operator, OPSET)


def _cut(network: Any, path: Path) -> tuple[Any, Any]:
    layers = {layer.name: layer for layer in network.layers}
    pooled = layers.get("pooled")
    if not isinstance(pooled, keras.layers.GlobalAveragePooling2D) or pooled.data_format != "channels_last":
        found = type(pooled).__name__ if pooled is not None else "nothing"
        raise RunError(
            f"{path}: expected a channels-last GlobalAveragePooling2D named 'pooled' behind the last feature map, "
            f"found {found}; Grad-CAM's gradient goes through it"
        )
    if len(network.input_shape) != 3 or network.output_shape != (None, 2):
        raise RunError(
            f"{path}: expected pixels [N, height, width] in and two logits out, "
            f"found {network.input_shape} and {network.output_shape}"
        )
    activation = getattr(network.layers[-1], "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise RunError(f"{path}: the last layer ends in {activation.__name__}; expected logits, without activation")
    return keras.Model(network.inputs[0], pooled.input), keras.Model(pooled.output, network.outputs[0])
