"""Keras' answers, and how far ONNX Runtime's are from them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cxr_edge.bundle import Bundle
from cxr_edge.golden import Answers, Comparison, answers, compare
from cxr_export.radiographs import noise, read_split
from cxr_export.run import Run

IMAGES = 64
NOISE = 8
_CHUNK = 16


def keras_answers(run: Run, inputs: NDArray[np.float32]) -> Answers:
    """What the trained network says, with gradients and maps from the definition (Selvaraju et al. 2017).

    Other than in the exported graph, the tape goes through the average pooling as well, so that the two ways to
    the gradient check each other.

    Args:
        run: A loaded run.
        inputs: float32 [N, height, width] in 0..255.
    """
    tail = keras.Model(run.body.outputs[0], run.network.outputs[0])
    scale, bias = run.calibration["scale"], run.calibration["bias"]
    parts = []
    for start in range(0, len(inputs), _CHUNK):
        batch = inputs[start : start + _CHUNK]
        logits = run.network(batch, training=False).numpy()
        features = run.body(batch, training=False)
        gradients, maps = [], []
        for target in (0, 1):
            with tf.GradientTape() as tape:
                tape.watch(features)
                score = tail(features, training=False)[:, target]
            gradient = tape.gradient(score, features)
            weights = tf.reduce_mean(gradient, (1, 2), keepdims=True)
            gradients.append(gradient.numpy())
            maps.append(tf.nn.relu(tf.reduce_sum(weights * features, -1)).numpy())
        logodds = logits[:, 1] - logits[:, 0]
        probability = 1 / (1 + np.exp(-(np.float64(logodds) * scale + bias)))
        parts.append(Answers(logodds, probability.astype(np.float32), np.stack(gradients, 1), np.stack(maps, 1)))
    return Answers.join(parts)


def verify(bundle: Bundle, run: Run, *, data: Path, split: str = "test") -> Comparison:
    """Compares a bundle with the run it was made from, on radiographs and on noise.

    Args:
        bundle: An opened bundle.
        run: The run.
        data: The Kaggle folder.
        split: Which of its folders the 64 radiographs come from.
    """
    real = read_split(data, split, size=run.input_size, count=IMAGES).pixels
    inputs = np.concatenate([real, noise(NOISE, size=run.input_size)])
    found, provider = answers(bundle, inputs)
    return compare(keras_answers(run, inputs), found, provider=provider)
