"""Keras' answers, and how far ONNX Runtime's are from them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.reference import Outputs, ReferenceInputs
from cxr_edge.runtime.self_test import Comparison, compare, compute_outputs
from cxr_export.radiographs import noise, read_split
from cxr_export.run import Run

IMAGES = 64
NOISE = 8


def keras_answers(run: Run, reference: ReferenceInputs) -> Outputs:
    """What the trained network says, with gradients and maps from the definition (Selvaraju et al. 2017).

    Other than in the exported graph, the tape goes through the average pooling as well, so that the two ways to
    the gradient check each other.
    """
    tail = keras.Model(run.body.outputs[0], run.network.outputs[0])
    scale, bias = run.calibration["scale"], run.calibration["bias"]
    parts = []
    for batch in reference.batches():
        logits = run.network(batch.inputs, training=False).numpy()
        logodds = logits[:, 1] - logits[:, 0]
        probability = 1 / (1 + np.exp(-(np.float64(logodds) * scale + bias)))
        features = run.body(batch.inputs, training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = tf.gather(tail(features, training=False), batch.target, axis=1, batch_dims=1)
        gradients = tape.gradient(score, features)
        weights = tf.reduce_mean(gradients, (1, 2), keepdims=True)
        activation = tf.nn.relu(tf.reduce_sum(weights * features, -1))
        parts.append(Outputs(logodds, probability.astype(np.float32), gradients.numpy(), activation.numpy()))
    return Outputs.join(parts)


def verify(bundle: Bundle, run: Run, *, data: Path, split: str = "test") -> Comparison:
    """Compares a bundle with the run it was made from, on radiographs and on noise, for both classes.

    Args:
        bundle: An opened bundle.
        run: The run.
        data: The Kaggle folder.
        split: Which of its folders the 64 radiographs come from.
    """
    real = read_split(data, split, size=run.input_size, count=IMAGES).pixels
    inputs = np.repeat(np.concatenate([real, noise(NOISE, size=run.input_size)]), 2, axis=0)
    reference = ReferenceInputs(inputs, np.arange(len(inputs)) % 2)
    found, provider = compute_outputs(bundle, reference)
    return compare(reference, keras_answers(run, reference), found, provider=provider)
