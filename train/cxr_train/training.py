"""Training of the classifier: radiographs in, a run folder with a calibrated and measured network out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cxr_edge.errors import UsageError
from cxr_train import runs
from cxr_train.dataset import Images, Sample, count_samples, find_samples, read_masks
from cxr_train.evaluation import calibrate, console, read
from cxr_train.fit import Validation, fit, read_history
from cxr_train.learner import Batches, ClassifierLearner
from cxr_train.network import build_network, freeze_through
from cxr_train.plots import learning_curves
from cxr_train.recipes import Recipe, recipe_named
from cxr_train.split import SPLIT_FILE, Split, Straddle, without_straddlers


@dataclass(frozen=True)
class TrainingData:
    """The radiographs that a network may be chosen on, by patient on one of two sides.

    Attributes:
        split: Who is on which side.
        learned: What the network learns from.
        held_out: What decides which epoch is best, and what it is calibrated on.
        straddlers: What was left out, because it is in the test folder too.
    """

    split: Split
    learned: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    straddlers: tuple[Straddle, ...]

    @classmethod
    def find(cls, data: Path, *, seed: int, fold: tuple[int, int] | None = None) -> TrainingData:
        """Splits the train and val folders of ``data`` by patient.

        Args:
            data: The Kaggle folder.
            seed: Decides who is held out.
            fold: Which of how many equal parts is held out; None holds `split.HELD_OUT` of the patients out.

        Raises:
            UsageError: The folder is not as expected.
        """
        samples, straddlers = without_straddlers(find_samples(data))
        for found in straddlers:
            console.print(
                f"{found.reason} {found.key} is in {' and '.join(found.splits)}: left {len(found.dropped)} out"
            )
        pool = [sample for sample in samples if sample.split != "test"]
        split = Split.fold(pool, *fold, seed=seed) if fold else Split.of(pool, seed=seed)
        sides = split.sides(pool)
        return cls(split, sides.learned, sides.held_out, tuple(straddlers))

    def describe(self, learned: Images, held_out: Images) -> Mapping[str, Any]:
        """What ``run.json`` says about the radiographs that were read."""
        return {
            "training": count_samples(learned.samples),
            "validation": count_samples(held_out.samples),
            "left_out": [{"reason": s.reason, "key": s.key, "splits": s.splits} for s in self.straddlers],
            "unreadable": [path.name for path, _ in (*learned.unreadable, *held_out.unreadable)],
        }


def train(
    *,
    data: Path,
    out: Path,
    arch: str,
    recipe_name: str,
    weights: str,
    masks: Path | None,
    epochs: int | None,
    seed: int,
    fold: tuple[int, int] | None,
    resume: bool,
    force: bool,
) -> None:
    """Trains, calibrates and measures one network; see the options of ``cxr-train fit``.

    Nothing is written or deleted before the options and the data are checked.

    Raises:
        UsageError: An option makes no sense, the data folder is not as expected, or ``out`` is taken.
    """
    recipe = recipe_named(recipe_name)
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    if arch == "small-cnn":
        weights = "none" if weights == "imagenet" else weights
        recipe = replace(recipe, frozen_through=None, batch_statistics=True)
    if masks is None:
        recipe = replace(recipe, segmentation=0.0, attribution=0.0)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()  # costs nothing measurable on a CPU
    settings = {"arch": arch, "recipe": {"name": recipe_name, **recipe.to_json()}, "seed": seed, "weights": weights}
    if fold:
        settings["fold"] = list(fold)
    going_on = runs.check_claim(out, settings, resume=resume, force=force) and resume
    if going_on and is_finished(out):
        console.print(f"{out}: is finished; nothing to resume")
        return
    if going_on and (out / runs.FORMER_STATE_FILE).exists():
        raise UsageError(f"{out}: was begun by an earlier version, which has to finish it; or start anew with --force")

    found = TrainingData.find(data, seed=seed, fold=fold)
    if going_on and (out / SPLIT_FILE).is_file() and Split.read(out / SPLIT_FILE) != found.split:
        raise UsageError(f"{data}: holds other patients than when {out} was begun; point --data at the same folder")
    held_out = read(found.held_out, "held-out")
    interrupted = False
    if not (going_on and is_trained(out, recipe)):
        images = read(found.learned, "training")
        lungs = read_masks(images.samples, masks) if masks else None
        network = build_network(arch, weights=weights, l2=recipe.l2, dropout=recipe.dropout)
        freeze_through(network, recipe.frozen_through)
        learner = ClassifierLearner(network, recipe, _class_weights(images, recipe))
        if not going_on:
            record = {
                **settings,
                "frozen_through": recipe.frozen_through,
                "parameters": network.count_params(),
                "lung_masks": masks is not None,
                "data": found.describe(images, held_out),
            }
            runs.begin(out, record, found.split)
        batches = Batches(
            images.pixels, images.labels, lungs, size=recipe.batch, augmentation=recipe.augmentation, seed=seed
        )
        interrupted = fit(learner, batches, Validation(held_out.pixels, held_out.labels), run=out, seed=seed)
    if not (out / runs.MODEL_FILE).is_file():
        raise UsageError(f"{out}: stopped before the first epoch was done; nothing was kept")
    learning_curves(read_history(out), out / runs.CURVES_FILE)
    calibrate(runs.Run.open(out), held_out)
    if interrupted:
        console.print(f"stopped early: {out} holds the best epoch so far; --resume goes on", style="yellow")
        raise SystemExit(130)
    (out / runs.STATE_FILE).unlink(missing_ok=True)


def is_trained(out: Path, recipe: Recipe) -> bool:
    """Whether all epochs of a run are done; the network of the best one is written before the row of the last one."""
    return len(read_history(out)) >= recipe.epochs and (out / runs.MODEL_FILE).is_file()


def is_finished(out: Path) -> bool:
    """Whether a run is trained, calibrated and measured; its state is removed last."""
    written = (runs.MODEL_FILE, runs.CALIBRATION_FILE, runs.METRICS_FILE)
    pending = (runs.STATE_FILE, runs.FORMER_STATE_FILE)
    return all((out / name).is_file() for name in written) and not any((out / name).exists() for name in pending)


def _class_weights(images: Images, recipe: Recipe) -> tuple[float, float]:
    if not recipe.class_weights:
        return 1.0, 1.0
    normal, pneumonia = ((images.labels == label).sum() for label in (0, 1))
    total = len(images.labels)
    return float(total / 2 / normal), float(total / 2 / pneumonia)
