"""The commands' work: data in, a run folder out."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_train.batches import Batches
from cxr_train.dataset import (
    LABELS,
    SPLITS,
    Images,
    Sample,
    find_samples,
    hold_out,
    read_images,
    read_masks,
    without_straddlers,
)
from cxr_train.evaluation import (
    CALIBRATION_FILE,
    RUN_FILE,
    Run,
    calibrate,
    choose,
    evaluate,
    measure,
    read_json,
    write_json,
)
from cxr_train.fit import MODEL_FILE, Validation, fit, read_history
from cxr_train.network import build_network, freeze_through
from cxr_train.plots import learning_curves
from cxr_train.recipes import Recipe, recipe_named
from cxr_train.trainer import Trainer

HELD_OUT = 0.12
console = Console(stderr=True, highlight=False)


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
    resume: bool,
    force: bool,
) -> None:
    """Trains, calibrates and measures one network; see the options of ``cxr-train fit``.

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
    settings = {
        "arch": arch,
        "recipe": {"name": recipe_name, **recipe.to_json()},
        "seed": seed,
        "weights": weights,
    }
    claim(out, settings, resume=resume, force=force)

    samples, straddlers = without_straddlers(find_samples(data))
    for found in straddlers:
        console.print(f"{found.reason} {found.key} is in {' and '.join(found.splits)}: left {len(found.dropped)} out")
    learned, held = hold_out([s for s in samples if s.split != "test"], fraction=HELD_OUT, seed=seed)
    images, validation_images = read(learned, "training"), read(held, "held-out")
    lungs = read_masks(images.samples, masks) if masks else None

    network = build_network(arch, weights=weights, l2=recipe.l2, dropout=recipe.dropout)
    freeze_through(network, recipe.frozen_through)
    write_json(
        out / RUN_FILE,
        {
            "schema": 1,
            **settings,
            "command": shlex.join(["cxr-train", *sys.argv[1:]]),
            "frozen_through": recipe.frozen_through,
            "parameters": network.count_params(),
            "lung_masks": masks is not None,
            "tools": {name: version(name) for name in ("keras", "numpy", "opencv-python-headless", "scikit-learn")}
            | {"tensorflow": tf.__version__},
            "data": {
                "training": counts(images),
                "validation": counts(validation_images),
                "left_out": [{"reason": s.reason, "key": s.key, "splits": s.splits} for s in straddlers],
                "unreadable": [str(p.name) for p, _ in (*images.unreadable, *validation_images.unreadable)],
            },
        },
    )
    validation = Validation(validation_images.pixels, validation_images.labels)
    trainer = Trainer(network, recipe, _class_weights(images, recipe))
    batches = Batches(images.pixels, images.labels, lungs, recipe.batch, recipe.augmentation, seed)
    interrupted = _fit(trainer, batches, validation, out=out, resume=resume)
    if not (out / MODEL_FILE).is_file():
        raise UsageError(f"{out}: stopped before the first epoch was done; nothing was kept")
    run = Run.open(out)
    calibrate(run, validation)
    learning_curves(read_history(out), out / "learning-curves.png")
    _report(evaluate(run, validation_images, split="validation"), "held-out patients of train and val")
    if interrupted:
        console.print(f"stopped early: {out} holds the best epoch so far; --resume goes on", style="yellow")
        raise SystemExit(130)


def calibrate_again(*, run: Path, data: Path) -> None:
    """Chooses temperature and operating points of a run anew, on the patients that its training held out.

    Raises:
        UsageError: The folder is not as expected.
        InputError: ``run`` is no finished run.
    """
    opened = Run.open(run)
    images = _held_out(data, opened.settings["seed"])
    calibrate(opened, Validation(images.pixels, images.labels))
    _report(evaluate(opened, images, split="validation"), "held-out patients of train and val")


def calibrate_bundle(*, bundle: Path, data: Path, out: Path) -> None:
    """Chooses them for a bundle, without Keras, and measures it there and on the test folder.

    Writes a JSON file for ``cxr-export calibrate``.

    Raises:
        UsageError: The folder is not as expected.
        BundleError: ``bundle`` is none, or does not say which patients were held out.
    """
    opened = Bundle.open(bundle)
    seed = opened.manifest.training.get("seed")
    if not isinstance(seed, int):
        raise BundleError(f"{bundle}: its manifest names no seed, so who was held out is not known; calibrate the run")
    classifier = Classifier(opened, gate=False)

    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (pixels[start : start + 16].astype(np.float32) for start in range(0, len(pixels), 16))
        return np.concatenate([classifier.logodds(batch) for batch in batches])

    images, test = _held_out(data, seed), read(find_samples(data, ["test"]), "test")
    chosen = choose(score, Validation(images.pixels, images.labels))
    metrics = {
        name: measure(score(each.pixels), each, chosen) for name, each in (("validation", images), ("test", test))
    }
    write_json(out, {"bundle": opened.digest, **chosen, "metrics": metrics})
    _report(metrics["validation"], "held-out patients of train and val")


def _held_out(data: Path, seed: int) -> Images:
    samples, _ = without_straddlers(find_samples(data))
    return read(hold_out([s for s in samples if s.split != "test"], fraction=HELD_OUT, seed=seed)[1], "held-out")


def evaluate_split(*, run: Path, data: Path, split: str) -> None:
    """Measures a run on a published split and adds the figures to its folder.

    Raises:
        UsageError: There is no such split, or the folder is not as expected.
        InputError: ``run`` is no finished run.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose from {', '.join(SPLITS)}")
    opened = Run.open(run)
    if not (run / CALIBRATION_FILE).is_file():
        raise UsageError(f"{run}: has no {CALIBRATION_FILE}; let cxr-train fit --resume finish first")
    _report(evaluate(opened, read(find_samples(data, [split]), split), split=split), split)


def claim(out: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> None:
    """Makes sure of a run folder before any work is done.

    Raises:
        UsageError: It holds a run and neither ``resume`` nor ``force`` is set, the run to resume was begun with other
            settings, or it cannot be written to.
    """
    taken = (out / RUN_FILE).is_file()
    if taken and not resume and not force:
        raise UsageError(f"{out}: already holds a run; --resume goes on with it, --force starts anew")
    if taken and resume:
        before = read_json(out / RUN_FILE)
        for key, value in _flat(settings).items():
            if _flat(before).get(key) != value:
                was = _flat(before).get(key)
                raise UsageError(f"{out}: was begun with {key} {was!r}, not {value!r}; resume it as it was begun")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; --out names a folder")
    if taken and force:
        for path in out.iterdir():
            if path.is_file():
                path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise UsageError(f"{out}: cannot be written to; choose another --out")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def read(samples: Sequence[Sample], name: str) -> Images:
    """Decodes samples and says how many there are, and which could not be read."""
    with console.status(f"reading {len(samples)} {name} images"):
        images = read_images(samples)
    found = counts(images)
    console.print(
        f"{name}: " + ", ".join(f"{found[label]} {label}" for label in LABELS) + f", {found['patients']} patients"
    )
    for path, reason in images.unreadable:
        console.print(f"  skipped {path.name}: {reason}", style="yellow")
    if images.unreadable:
        console.print(f"  {len(images.unreadable)} unreadable images skipped", style="yellow")
    return images


def counts(images: Images) -> dict[str, int]:
    """Images by label, and patients."""
    by_label = Counter(LABELS[sample.label] for sample in images.samples)
    return {**{name: by_label[name] for name in LABELS}, "patients": len(set(images.patients))}


def _class_weights(images: Images, recipe: Recipe) -> tuple[float, float]:
    if not recipe.class_weights:
        return 1.0, 1.0
    normal, pneumonia = ((images.labels == label).sum() for label in (0, 1))
    total = len(images.labels)
    return float(total / 2 / normal), float(total / 2 / pneumonia)


def _fit(trainer: Trainer, batches: Batches, validation: Validation, *, out: Path, resume: bool) -> bool:
    """Runs the loop under a progress bar; True when it was interrupted."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=len(batches))

        def on_step(epoch: int, step: int, loss: float) -> None:
            title = f"epoch {epoch + 1}/{trainer.recipe.epochs}, loss {loss:.3f}"
            bars.update(bar, completed=step + 1, description=title)

        def on_epoch(row: Mapping[str, float]) -> None:
            console.print(
                f"epoch {row['epoch']:.0f}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}; held out: "
                f"loss {row['val_loss']:.4f}, AUROC {row['val_clean_auroc']:.4f}, "
                f"perturbed {row['val_shifted_auroc']:.4f}"
            )

        try:
            fit(trainer, batches, validation, run=out, resume=resume, on_step=on_step, on_epoch=on_epoch)
        except KeyboardInterrupt:
            return True
    return False


def _report(result: Mapping[str, Any], name: str) -> None:
    console.print(f"{name}: {result['images']}, threshold {result['threshold']:.4f} ({result['operating_point']})")
    for key, estimate in result["metrics"].items():
        console.print(f"  {key:12} {estimate['value']:.4f}  ({estimate['low']:.4f} to {estimate['high']:.4f})")
