"""What is trained: a network with its losses, on batches that are the same for the same seed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cxr_train.augmentation import Augmentation, augment
from cxr_train.recipes import Recipe
from cxr_train.runs import save_whole

LUNG_GRID = 28


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Varied radiographs in batches, made ahead of use by two threads (OpenCV releases the lock).

    A batch is ``(pixels, {"labels", "lungs"})``: float32 [B, H, W] in 0..255, int32 [B], and float32 [B, cells, cells],
    the share of each cell that is lung, NaN where unknown.

    Args:
        pixels: uint8 [N, H, W].
        labels: int32 [N].
        masks: uint8 [N, H, W] with 0 outside, 255 lung, 127 unknown; None where there are no masks.
        size: Images per batch; the last one may be smaller.
        augmentation: What is varied.
        seed: With the epoch and the batch's number, decides everything.
        grid: Cells a side of what is said about the lungs.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int32],
        masks: NDArray[np.uint8] | None,
        *,
        size: int,
        augmentation: Augmentation,
        seed: int,
        grid: int = LUNG_GRID,
    ) -> None:
        super().__init__(workers=2, max_queue_size=6)
        self.epoch = 0
        self._pixels, self._labels, self._masks = pixels, labels, masks
        self._size, self._augmentation, self._seed, self._grid = size, augmentation, seed, grid

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._labels) / self._size)

    def __getitem__(self, step: int) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """A batch of the epoch ``epoch``."""
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._labels))
        rows = order[step * self._size : (step + 1) * self._size]
        rng = np.random.default_rng([self._seed, self.epoch, step])
        pixels, lungs = [], []
        for row in rows:
            other = self._pixels[rng.integers(len(self._pixels))].astype(np.float32)
            image = self._pixels[row].astype(np.float32)
            varied, mask = augment(image, self._mask(row), other, amount=self._augmentation, rng=rng)
            pixels.append(varied)
            lungs.append(_share_of_lung(mask, self._grid))
        return np.stack(pixels), {"labels": self._labels[rows], "lungs": np.stack(lungs)}

    def _mask(self, row: int) -> NDArray[np.float32] | None:
        if self._masks is None:
            return None
        levels = self._masks[row]
        mask = levels.astype(np.float32) / 255
        mask[levels == 127] = np.nan
        return None if np.isnan(mask).all() else mask


def _share_of_lung(mask: NDArray[np.float32] | None, cells: int) -> NDArray[np.float32]:
    if mask is None:
        return np.full((cells, cells), np.nan, np.float32)
    return cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA)


class Learner(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A network that is trained, perhaps with parts that are dropped afterwards.

    Checkpoints hold the network alone; the state that a training goes on from holds everything, the optimizer too.
    Both files are written whole or not at all.

    Args:
        network: The network that is deployed.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.built = True

    def call(self, pixels: Any, training: bool = False) -> Any:
        """The network's output."""
        return self.network(pixels, training=training)

    def save(self, filepath: str, *, overwrite: bool = True) -> None:
        """Writes the network; Keras' checkpoints call it."""
        save_whole(lambda partial: self.network.save(partial, overwrite=overwrite), Path(filepath))

    def save_weights(self, filepath: str, *, overwrite: bool = True) -> None:
        """Writes the state of the training; Keras' checkpoints call it."""
        save = super().save_weights
        save_whole(lambda partial: save(partial, overwrite=overwrite), Path(filepath))


class ClassifierLearner(Learner):
    """A classifier with the losses of a recipe: classification, and two that keep the evidence inside the lungs.

    Args:
        network: From `build_network`.
        recipe: How it is trained.
        class_weights: Loss weight of NORMAL and PNEUMONIA.
    """

    def __init__(self, network: Any, recipe: Recipe, class_weights: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__(network)
        self.recipe = recipe
        pooled = network.get_layer("pooled")
        self._to_features = keras.Model(network.input, pooled.input)
        names = ["cross_entropy", "accuracy"]
        if recipe.segmentation:
            names.append("segmentation")
            height, _, channels = pooled.input.shape[1:]
            self.outline = keras.layers.Conv2D((LUNG_GRID // height) ** 2, 1, name="lung_outline")
            self.outline.build((None, None, None, channels))
        if recipe.attribution:
            names.append("attribution")
        self._means = [keras.metrics.Mean(name) for name in names]
        self._class_weights = tf.constant(class_weights, tf.float32)
        optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm or None
        )
        optimizer.build(self.trainable_variables)
        self.compile(optimizer, jit_compile=False)
        self._centre_logits()

    def call(self, pixels: Any, training: bool = False) -> dict[str, Any]:
        """Features [N, h, w, channels], hidden units [N, 256] and logits [N, 2]."""
        features = self._to_features(pixels, training=training and self.recipe.batch_statistics)
        hidden = self.network.get_layer("hidden")(tf.reduce_mean(features, (1, 2)))
        dropped = self.network.get_layer("dropout")(hidden, training=training)
        return {"features": features, "hidden": hidden, "logits": self.network.get_layer("logits")(dropped)}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The sum of the recipe's losses; each is stated by its name as well, unweighted."""
        del x, sample_weight, training
        recipe, labels, lungs = self.recipe, y["labels"], y["lungs"]
        logits, features = y_pred["logits"], y_pred["features"]
        hits = tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)
        values = {"cross_entropy": self._cross_entropy(logits, labels), "accuracy": tf.reduce_mean(hits)}
        total = values["cross_entropy"] + tf.add_n(self.network.losses)
        if recipe.segmentation:
            values["segmentation"] = self._outline_loss(features, lungs)
            total += recipe.segmentation * values["segmentation"]
        if recipe.attribution:
            values["attribution"] = self.attribution_outside(features, y_pred["hidden"], labels, lungs)
            total += recipe.attribution * values["attribution"]
        for mean in self._means:
            mean.update_state(values[mean.name], tf.shape(labels)[0])
        return total

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of Keras' own, after which the logits are centred again."""
        values: dict[str, Any] = super().train_step(data)
        self._centre_logits()
        return values

    def _cross_entropy(self, logits: Any, labels: Any) -> Any:
        smooth = self.recipe.label_smoothing
        target = tf.one_hot(labels, 2) * (1 - smooth) + smooth / 2
        each = tf.nn.softmax_cross_entropy_with_logits(target, logits)
        return tf.reduce_mean(each * tf.gather(self._class_weights, labels))

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

    def attribution_outside(self, features: Any, hidden: Any, labels: Any, lungs: Any) -> Any:
        """Share of class activation that falls outside the lungs, 0..1.

        The head behind the average pooling is piecewise linear, so the gradient of the log-odds with respect to the
        pooled vector is exact from the active hidden units. Grad-CAM (Selvaraju et al. 2017, equations 1 and 2)
        multiplies the features by it. The penalty keeps both the evidence for the true class and all evidence inside.

        Args:
            features: float32 [N, h, w, channels].
            hidden: float32 [N, 256], behind the ReLU.
            labels: int32 [N].
            lungs: float32 [N, cells, cells]; NaN where unknown.
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
