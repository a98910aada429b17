"""The two graphs of a bundle, traced from Keras and converted by tf2onnx.

Grad-CAM's gradient (Selvaraju et al. 2017, equation 1) comes from a tape over the head and is taken with
respect to the pooled vector; the chain rule through the average pooling, d pooled / d feature = 1 / (h · w), is
written out. A tape over the pooling would need operators that tf2onnx does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from cxr_export.errors import ConversionError
from cxr_export.run import Run

OPSET = 18


def classifier_graph(run: Run) -> onnx.ModelProto:
    """Radiographs to answers.

    Input ``pixels`` float32 [N, H, W] in 0..255. Outputs ``logodds`` float32 [N] (z_PNEUMONIA - z_NORMAL,
    uncalibrated), ``probability`` float32 [N] (calibrated, of PNEUMONIA), ``features`` float32 [N, h, w, channels].

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """
    scale, bias = run.calibration["scale"], run.calibration["bias"]

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        features = run.body(pixels, training=False)
        logits = run.head(tf.reduce_mean(features, (1, 2)), training=False)
        logodds = tf.reduce_sum(logits * [-1.0, 1.0], 1)
        return {"logodds": logodds, "probability": tf.sigmoid(logodds * scale + bias), "features": features}

    return convert(answer, [tf.TensorSpec((None, *run.input_size), tf.float32, "pixels")])


def gradcam_graph(run: Run) -> onnx.ModelProto:
    """Features to the gradient of one class's logit and to its class activation map.

    Inputs ``features`` float32 [N, h, w, channels] and ``target`` int64 [N] (0 NORMAL, 1 PNEUMONIA). Outputs
    ``gradients`` float32 [N, h, w, channels] and ``map`` float32 [N, h, w], equation 2 of Selvaraju et al. 2017:
    ReLU of the features weighted by the spatial means of their gradients.

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """
    height, width, channels = run.features

    def explain(features: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        pooled = tf.reduce_mean(features, (1, 2))
        with tf.GradientTape() as tape:
            tape.watch(pooled)
            logits = run.head(pooled, training=False)
        slope = tape.gradient(logits, pooled, output_gradients=tf.one_hot(target, 2)) / (height * width)
        weights = tf.reshape(slope, (-1, 1, 1, channels))
        return {
            "gradients": tf.tile(weights, (1, height, width, 1)),
            "map": tf.nn.relu(tf.reduce_sum(features * weights, 3)),
        }

    return convert(
        explain,
        [tf.TensorSpec((None, *run.features), tf.float32, "features"), tf.TensorSpec((None,), tf.int64, "target")],
    )


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
