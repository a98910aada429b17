"""One training step: classification, and two losses that keep the evidence inside the lungs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cxr_train.batches import LUNG_GRID, Batch
from cxr_train.recipes import Recipe


@dataclass
class Trainer:
    """A network with what is needed to train it, and dropped afterwards.

    Attributes:
        network: The classifier that is deployed.
        recipe: How it is trained.
        class_weights: Loss weight of NORMAL and PNEUMONIA.
    """

    network: Any
    recipe: Recipe
    class_weights: tuple[float, float] = (1.0, 1.0)
    outline: Any = field(init=False)
    optimizer: Any = field(init=False)

    def __post_init__(self) -> None:
        """Builds the auxiliary head and the optimizer."""
        pooled = self.network.get_layer("pooled")
        self._features = keras.Model(self.network.input, pooled.input)
        height, width, channels = pooled.input.shape[1:]
        cells = LUNG_GRID // height
        self.outline = keras.layers.Conv2D(cells * cells, 1, name="lung_outline")
        self.outline.build((None, height, width, channels))
        self.optimizer = keras.optimizers.AdamW(
            self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            global_clipnorm=self.recipe.clip_norm or None,
        )
        self.optimizer.build(self._trainable())
        self._centre_logits()
        self._weights = tf.constant(self.class_weights, tf.float32)
        self._step = tf.function(self._train, reduce_retracing=True)

    def step(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Takes one step; returns each loss and the accuracy, unweighted."""
        losses = self._step(tf.constant(batch.pixels), tf.constant(batch.labels), tf.constant(batch.lungs))
        return {name: value.numpy() for name, value in losses.items()}

    def variables(self) -> list[Any]:
        """Everything that a resumed training needs, the state of dropout's random generator included."""
        return [*self.network.variables, *self.outline.variables, *self.optimizer.variables]

    def _trainable(self) -> list[Any]:
        return [
            *self.network.trainable_variables,
            *(self.outline.trainable_variables if self.recipe.segmentation else []),
        ]

    def _train(self, pixels: Any, labels: Any, lungs: Any) -> dict[str, Any]:
        recipe = self.recipe
        with tf.GradientTape() as tape:
            features = self._features(pixels, training=recipe.batch_statistics)
            hidden = self.network.get_layer("hidden")(tf.reduce_mean(features, (1, 2)))
            logits = self.network.get_layer("logits")(self.network.get_layer("dropout")(hidden, training=True))
            losses = {"cross_entropy": self._cross_entropy(logits, labels)}
            if recipe.segmentation:
                losses["segmentation"] = self._outline_loss(features, lungs)
            if recipe.attribution:
                losses["attribution"] = self._attribution_outside(features, hidden, labels, lungs)
            total = losses["cross_entropy"] + tf.add_n(self.network.losses)
            total += recipe.segmentation * losses.get("segmentation", 0.0)
            total += recipe.attribution * losses.get("attribution", 0.0)
        trainable = self._trainable()
        self.optimizer.apply_gradients(zip(tape.gradient(total, trainable), trainable, strict=True))
        self._centre_logits()
        hits = tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)
        return {"loss": total, **losses, "accuracy": tf.reduce_mean(hits)}

    def _cross_entropy(self, logits: Any, labels: Any) -> Any:
        smooth = self.recipe.label_smoothing
        target = tf.one_hot(labels, 2) * (1 - smooth) + smooth / 2
        each = tf.nn.softmax_cross_entropy_with_logits(target, logits)
        return tf.reduce_mean(each * tf.gather(self._weights, labels))

    def _outline_loss(self, features: Any, lungs: Any) -> Any:
        scores = tf.nn.depth_to_space(self.outline(features), LUNG_GRID // features.shape[1])[..., 0]
        known = tf.cast(tf.math.is_finite(lungs), tf.float32)
        target = tf.where(tf.math.is_finite(lungs), lungs, 0.0)
        each = tf.nn.sigmoid_cross_entropy_with_logits(target, scores)
        return tf.math.divide_no_nan(tf.reduce_sum(each * known), tf.reduce_sum(known))

    def _centre_logits(self) -> None:
        """Takes the mean over the classes out of the last layer; probabilities and log-odds stay as they are.

        Otherwise the penalty is evaded: the evidence moves to the other class's logit, and Grad-CAM of PNEUMONIA shows
        what little noise is left, outside the lungs (seen: 4 % inside by the logit, 87 % by the log-odds).
        """
        last = self.network.get_layer("logits")
        for variable in (last.kernel, last.bias):
            variable.assign(variable - tf.reduce_mean(variable, -1, keepdims=True))

    def _attribution_outside(self, features: Any, hidden: Any, labels: Any, lungs: Any) -> Any:
        """Share of class activation that falls outside the lungs, 0..1.

        The head behind the average pooling is piecewise linear, so the gradient of the log-odds with respect to the
        pooled vector is exact from the active hidden units. Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) weighs
        the features with it; both the evidence for the true class and all evidence are held inside.
        """
        kernel = self.network.get_layer("logits").kernel
        active = tf.cast(hidden > 0, tf.float32) * (kernel[:, 1] - kernel[:, 0])
        gradient = tf.matmul(active, self.network.get_layer("hidden").kernel, transpose_b=True)
        cam = tf.einsum("bhwc,bc->bhw", features, gradient)
        towards_label = tf.nn.relu(cam * tf.cast(2 * labels - 1, tf.float32)[:, None, None])
        cells = LUNG_GRID // features.shape[1]
        known = tf.cast(tf.math.is_finite(lungs), tf.float32)
        share = tf.where(tf.math.is_finite(lungs), lungs, 1.0)
        outside = 1 - tf.nn.avg_pool2d(share[..., None], cells, cells, "VALID")[..., 0]
        has_mask = tf.reduce_max(known, (1, 2))
        total = 0.0
        for spent in (towards_label, tf.abs(cam)):
            each = tf.math.divide_no_nan(tf.reduce_sum(spent * outside, (1, 2)), tf.reduce_sum(spent, (1, 2)))
            total += tf.math.divide_no_nan(tf.reduce_sum(each * has_mask), tf.reduce_sum(has_mask))
        return total / 2
