"""The lung segmenter's training: radiographs and lung masks in, a run folder with its Dice coefficient out."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cxr_edge.errors import UsageError
from cxr_edge.explanation.lungs import to_mask
from cxr_train.augmentation import Augmentation
from cxr_train.batches import Batches
from cxr_train.dataset import LABELS, Images, find_samples, hold_out, read_masks, without_straddlers
from cxr_train.evaluation import METRICS_FILE, RUN_FILE, write_json
from cxr_train.fit import MODEL_FILE, save_network
from cxr_train.lung_network import build_lung_network
from cxr_train.metrics import bootstrapped_mean, dice
from cxr_train.training import HELD_OUT, claim, console, counts, read

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


def train_lungs(*, data: Path, masks: Path, out: Path, epochs: int, seed: int, force: bool) -> None:
    """Trains the segmenter on the patients that `train` learns from, and measures it on those held out.

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
    claim(out, {"arch": "lung_segmenter", "seed": seed}, resume=False, force=force)
    samples, _ = without_straddlers(find_samples(data))
    learned, held = hold_out([s for s in samples if s.split != "test"], fraction=HELD_OUT, seed=seed)
    images, validation = read(learned, "training"), read(held, "held-out")
    known, outlines = read_masks(images.samples, masks), read_masks(validation.samples, masks)

    network = build_lung_network()
    write_json(
        out / RUN_FILE,
        {
            "schema": 1,
            "arch": "lung_segmenter",
            "seed": seed,
            "epochs": epochs,
            "command": shlex.join(["cxr-train", *sys.argv[1:]]),
            "parameters": network.count_params(),
            "tools": {name: version(name) for name in ("keras", "numpy", "opencv-python-headless")}
            | {"tensorflow": tf.__version__},
            "data": {"training": counts(images), "validation": counts(validation)},
        },
    )
    batches = Batches(images.pixels, images.labels, known, BATCH, AUGMENTATION, seed, grid=images.pixels.shape[1] // 2)
    optimizer = keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    step = tf.function(lambda pixels, lungs: _step(network, optimizer, pixels, lungs), reduce_retracing=True)
    best = -1.0
    for epoch in range(epochs):
        total = 0.0
        for number, batch in enumerate(batches.epoch(epoch)):
            done = (epoch * len(batches) + number) / (epochs * len(batches))
            optimizer.learning_rate = LEARNING_RATE * (1 + math.cos(math.pi * done)) / 2
            total += float(step(tf.constant(batch.pixels), tf.constant(batch.lungs)))
        values = dice(outline(network, validation.pixels), outlines)
        mean = float(np.nanmean(values))
        console.print(f"epoch {epoch + 1}/{epochs}: loss {total / len(batches):.4f}, held-out Dice {mean:.4f}")
        if mean > best:
            best = mean
            save_network(network, out / MODEL_FILE)
            write_json(out / METRICS_FILE, {"validation": _metrics(values, validation)})


def outline(network: Any, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lungs as the segmenter sees them, bool [N, H, W], for images uint8 [N, H, W]."""
    found = np.empty(pixels.shape, bool)
    height, width = pixels.shape[1:]
    for start in range(0, len(pixels), 32):
        part = slice(start, start + 32)
        logits = np.asarray(network(pixels[part].astype(np.float32), training=False))
        found[part] = [to_mask(each, height, width) for each in logits]
    return found


def loss(logits: Any, lungs: Any) -> Any:
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


def _step(network: Any, optimizer: Any, pixels: Any, lungs: Any) -> Any:
    with tf.GradientTape() as tape:
        value = loss(network(pixels, training=True), lungs)
    variables = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
    return value


def _metrics(values: NDArray[np.float64], images: Images) -> dict[str, Any]:
    """The mean Dice coefficient with its interval, over all images and by label."""
    if np.isnan(values).all():
        raise UsageError("no held-out image has a lung mask: point --masks at <split>/<label>/<image stem>.png")
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
