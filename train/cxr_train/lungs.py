"""The network that outlines the lungs: a small U-Net (Ronneberger et al. 2015), its losses and its training.

It takes 0.3 GFLOP, so that it costs less than the answer. Skips are added instead of concatenated, which saves a third
of the arithmetic (compare LinkNet, Chaurasia and Culurciello 2017), and half the input's resolution is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cxr_edge.errors import UsageError
from cxr_edge.explanation.lungs import to_mask
from cxr_train import runs
from cxr_train.augmentation import Augmentation
from cxr_train.dataset import LABELS, Images, read_masks
from cxr_train.evaluation import console, read
from cxr_train.fit import Position
from cxr_train.learner import Batches, Learner
from cxr_train.metrics import bootstrapped_mean, dice
from cxr_train.training import TrainingData

CHANNELS = (12, 24, 48, 96)
LEARNING_RATE = 3e-3
BATCH = 16
AUGMENTATION = Augmentation(
    rotation=15,
    scale=0.2,
    shift=0.1,
    flip=0.5,
    exposure=0.7,
    equalise=0.1,
    blur=0.2,
    noise=0.2,
    markers=0.2,
    borders=0.2,
)


def build_lung_network(*, height: int = 224, width: int = 224) -> Any:
    """Builds the segmenter.

    Input ``pixels`` float32 [N, H, W] in 0..255; output ``lungs`` float32 [N, H/2, W/2]: the logit of lung.

    Args:
        height: Input height in pixels, a multiple of 16.
        width: Input width in pixels, a multiple of 16.
    """
    pixels = keras.Input((height, width), name="pixels")
    x = keras.layers.Reshape((height, width, 1), name="grey")(pixels)
    x = keras.layers.AveragePooling2D(2, name="halved")(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalised")(x)
    skips: list[Any] = []
    for depth, channels in enumerate(CHANNELS, start=1):
        if skips:
            x = keras.layers.MaxPooling2D(2, name=f"down_{depth}")(x)
        x = _convolved(x, channels, f"down_{depth}a")
        x = _convolved(x, channels, f"down_{depth}b")
        skips.append(x)
    for depth in range(len(CHANNELS) - 1, 0, -1):
        # Not UpSampling2D, which comes out of the conversion to ONNX as some twenty operators.
        x = keras.layers.Conv2DTranspose(CHANNELS[depth - 1], 2, strides=2, name=f"up_{depth}")(x)
        x = keras.layers.Add(name=f"joined_{depth}")([x, skips[depth - 1]])
        x = _convolved(x, CHANNELS[depth - 1], f"up_{depth}a")
    x = keras.layers.Conv2D(1, 1, name="logit")(x)
    lungs = keras.layers.Reshape((height // 2, width // 2), name="lungs")(x)
    return keras.Model(pixels, lungs, name="lung_segmenter")


def _convolved(x: Any, channels: int, name: str) -> Any:
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


class LungLearner(Learner):
    """A segmenter with its loss.

    Args:
        network: From `build_lung_network`.
        steps: Steps of the whole training, over which the learning rate falls to nothing along half a cosine.
    """

    def __init__(self, network: Any, *, steps: int) -> None:
        super().__init__(network)
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        self.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), jit_compile=False)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """See `lung_loss`."""
        del x, sample_weight, training
        return lung_loss(y_pred, y["lungs"])


class HeldOutDice(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Measures the outlines of held-out radiographs at the end of an epoch, and writes down the best."""

    def __init__(self, run: Path, images: Images, masks: NDArray[np.uint8]) -> None:
        super().__init__()
        self._run, self._images, self._masks, self._best = run, images, masks, -1.0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Adds ``val_dice`` to the figures of the training."""
        values = dice(outline(self.model.network, self._images.pixels), self._masks)
        logs["val_dice"] = float(np.nanmean(values))
        console.print(f"epoch {epoch + 1}: loss {logs['loss']:.4f}, held-out Dice {logs['val_dice']:.4f}")
        if logs["val_dice"] > self._best:
            self._best = logs["val_dice"]
            self.model.save(self._run / runs.MODEL_FILE)
            runs.write_json(self._run / runs.METRICS_FILE, {"validation": _metrics(values, self._images)})


def train_lungs(*, data: Path, masks: Path, out: Path, epochs: int, seed: int, force: bool) -> None:
    """Trains the segmenter on the patients that `train` learns from, and measures it on those held out.

    Nothing is written or deleted before the data are checked.

    Args:
        data: The Kaggle folder.
        masks: Lung masks ``<split>/<label>/<stem>.png``: 0 outside, 255 lung, 127 unknown.
        out: Run folder to write.
        epochs: Passes over the training images.
        seed: Decides the held-out patients, the order and every variation.
        force: Replaces a run that is there.

    Raises:
        UsageError: The folders are not as expected, or ``out`` is taken.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    settings = {"arch": "lung_segmenter", "seed": seed, "epochs": epochs}
    runs.check_claim(out, settings, resume=False, force=force)
    found = TrainingData.find(data, seed=seed)
    images, held_out = read(found.learned, "training"), read(found.held_out, "held-out")
    known, outlines = read_masks(images.samples, masks), read_masks(held_out.samples, masks)
    if not (outlines == 255).any():
        raise UsageError(f"{masks}: no held-out image has a lung mask <split>/<label>/<image stem>.png in it")

    network = build_lung_network()
    record = {**settings, "parameters": network.count_params(), "data": found.describe(images, held_out)}
    runs.begin(out, record, found.split)
    grid = images.pixels.shape[1] // 2
    batches = Batches(images.pixels, images.labels, known, size=BATCH, augmentation=AUGMENTATION, seed=seed, grid=grid)
    learner = LungLearner(network, steps=epochs * len(batches))
    callbacks = [HeldOutDice(out, held_out, outlines), Position(batches, seed=seed)]
    learner.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


def outline(network: Any, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lungs as the segmenter sees them, bool [N, H, W], for images uint8 [N, H, W]."""
    found = np.empty(pixels.shape, bool)
    height, width = pixels.shape[1:]
    for start in range(0, len(pixels), 32):
        part = slice(start, start + 32)
        logits = np.asarray(network(pixels[part].astype(np.float32), training=False))
        found[part] = [to_mask(each, height, width) for each in logits]
    return found


def lung_loss(logits: Any, lungs: Any) -> Any:
    """Cross-entropy over the known pixels plus the images' mean soft Dice loss (Milletari et al. 2016, section 3).

    Args:
        logits: float32 [N, h, w].
        lungs: float32 [N, h, w]: the share of each cell that is lung; NaN where unknown.
    """
    known = tf.cast(tf.math.is_finite(lungs), tf.float32)
    target = tf.where(tf.math.is_finite(lungs), lungs, 0.0)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, logits) * known
    share = tf.sigmoid(logits) * known
    overlap = 2 * tf.reduce_sum(share * target, (1, 2))
    soft_dice = tf.math.divide_no_nan(overlap, tf.reduce_sum(share + target, (1, 2)))
    has_mask = tf.reduce_max(known, (1, 2))
    return tf.math.divide_no_nan(tf.reduce_sum(cross_entropy), tf.reduce_sum(known)) + tf.math.divide_no_nan(
        tf.reduce_sum((1 - soft_dice) * has_mask), tf.reduce_sum(has_mask)
    )


def _metrics(values: NDArray[np.float64], images: Images) -> dict[str, Any]:
    """The mean Dice coefficient with its interval, over all images and by label."""
    rows: dict[str, Sequence[bool]] = {"all": [True] * len(values)}
    rows |= {name: (images.labels == label).tolist() for label, name in enumerate(LABELS)}
    out = {}
    for name, chosen in rows.items():
        used = np.asarray(chosen) & ~np.isnan(values)
        if used.any():
            patients = [patient for patient, use in zip(images.patients, used, strict=True) if use]
            out[name] = {
                "images": int(used.sum()),
                "patients": len(set(patients)),
                "dice": bootstrapped_mean(values[used], patients).to_json(),
            }
    return out
