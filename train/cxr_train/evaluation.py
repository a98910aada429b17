"""A network against radiographs of patients that it did not learn from: calibrated, measured, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Calibration, OperatingPoint
from cxr_edge.errors import UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_train.calibration import OutOfFold, calibrated, choose
from cxr_train.dataset import LABELS, SPLITS, Images, Sample, count_samples, find_samples, read_images
from cxr_train.metrics import bootstrapped, by_group, confusion, decided, expected_calibration_error, figures
from cxr_train.plots import evaluation_figures
from cxr_train.runs import CALIBRATION_FILE, METRICS_FILE, Run, read_json, write_json
from cxr_train.split import Split, derive_split, describe_misfit, split_of_bundle, without_straddlers

console = Console(stderr=True, highlight=False)
QUANTILES = np.linspace(0, 1, 41)
"""Ranks of the scores that a bundle states, for whoever compares others with them."""
_HELD_OUT = "held-out patients of train and val"


def calibrate(run: Run, images: Images, *, folds: OutOfFold | None = None) -> None:
    """Chooses the temperature and the operating points of a run and measures it, both on held-out radiographs.

    Args:
        run: A trained run.
        images: Radiographs of patients whom it did not learn from.
        folds: What the thresholds are chosen on instead, see `choose`.
    """
    from cxr_train.network import logodds  # seconds to import

    write_json(run.path / CALIBRATION_FILE, choose(lambda pixels: logodds(run.network, pixels), images, folds=folds))
    _report(evaluate(run, images, split="validation"), _HELD_OUT)


def evaluate(run: Run, images: Images, *, split: str) -> dict[str, Any]:
    """Measures a run on images, adds the figures to its ``metrics.json`` under the split's name, and draws them.

    Args:
        run: With its calibration already chosen.
        images: What to measure on.
        split: Their name.

    Returns:
        What was added.
    """
    from cxr_train.network import logodds  # seconds to import

    chosen = run.calibration
    scores = logodds(run.network, images.pixels)
    result = measure(scores, images, chosen)
    path = run.path / METRICS_FILE
    write_json(path, {**(read_json(path) if path.is_file() else {}), split: result})
    evaluation_figures(
        images.labels,
        calibrated(Calibration(**chosen["calibration"]), scores),
        np.array(result["confusion"]),
        result["metrics"],
        threshold=result["threshold"],
        folder=run.path,
        split=split,
    )
    return result


def calibrate_again(*, run: Path, data: Path, folds: Sequence[Path] = ()) -> None:
    """Chooses temperature and operating points of a run anew, on the patients that its training held out.

    Args:
        run: The run folder.
        data: The folder that it was trained on.
        folds: See `out_of_fold`; without them the thresholds are chosen on the held-out patients too.

    Raises:
        UsageError: The folder is not as expected, or holds none of these patients.
        RunError: ``run`` is no run with a trained network.
    """
    opened, samples = Run.open(run), find_samples(data)
    split = opened.split or derive_split(opened.record, samples, run)
    images = _held_out(split, samples, data, opened.network.input_shape[1:])
    calibrate(opened, images, folds=out_of_fold(folds, samples) if folds else None)


def out_of_fold(runs: Sequence[Path], samples: Sequence[Sample]) -> OutOfFold:
    """Has every training patient answered by the one network that did not learn from this patient.

    Args:
        runs: The run folders of ``cxr-train fit --fold 1/N`` to ``N/N``.
        samples: The folder that they were trained on.

    Raises:
        UsageError: A fold is missing or there twice, or they are of different recipes.
        RunError: A folder is no finished run.
    """
    from cxr_train.network import logodds  # seconds to import

    opened = [Run.open(path) for path in runs]
    found = sorted(run.record.get("fold") or [0, 0] for run in opened)
    of = found[-1][1]
    if found != [[number, of] for number in range(1, of + 1)]:
        raise UsageError(f"folds {found}; expected one run of cxr-train fit --fold K/N for every K from 1 to N")
    alike = ("arch", "recipe", "seed", "weights")
    for run in opened[1:]:
        if any(run.record.get(key) != opened[0].record.get(key) for key in alike):
            raise UsageError(f"{run.path}: was begun with another {' or '.join(alike)} than {opened[0].path}")
    pool = [sample for sample in without_straddlers(samples)[0] if sample.split != "test"]
    parts = []
    for run in opened:
        if run.split is None:
            raise UsageError(f"{run.path}: stores no split; train the fold again")
        number, of = run.record["fold"]
        images = read(run.split.sides(pool).held_out, f"fold {number}/{of}", size=run.network.input_shape[1:])
        calibration = Calibration(**run.calibration["calibration"])
        scores = logodds(run.network, images.pixels)
        parts.append(OutOfFold(calibrated(calibration, scores), images.labels, tuple(images.patients)))
    return OutOfFold.joined(parts)


def calibrate_bundle(*, bundle: Path, data: Path, out: Path, folds: Sequence[Path] = ()) -> None:
    """Chooses them for a bundle, without Keras, and measures it there and on the test folder.

    Writes a JSON file for ``cxr-export calibrate``.

    Args:
        bundle: The bundle's folder.
        data: The folder that it was trained on.
        out: The file.
        folds: See `out_of_fold` (these need Keras); without them the thresholds are chosen on the held-out patients.

    Raises:
        UsageError: The folder is not as expected or holds none of the held-out patients, or ``out`` is another file.
        BundleError: ``bundle`` is none.
    """
    if out.exists() and not (out.is_file() and b'"operating_points"' in out.read_bytes()):
        raise UsageError(f"{out}: is there already and no calibration; name another file with --out")
    opened, samples = Bundle.open(bundle), find_samples(data)
    size = opened.manifest.input.height, opened.manifest.input.width
    images = _held_out(split_of_bundle(opened, samples), samples, data, size)
    test = read([sample for sample in samples if sample.split == "test"], "test", size=size)
    classifier = Classifier(opened, gate=False)

    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (pixels[start : start + 16].astype(np.float32) for start in range(0, len(pixels), 16))
        return np.concatenate([classifier.logodds(batch) for batch in batches])

    chosen = choose(score, images, folds=out_of_fold(folds, samples) if folds else None)
    metrics = {
        name: measure(score(each.pixels), each, chosen) for name, each in (("validation", images), ("test", test))
    }
    write_json(out, {"bundle": opened.digest, **chosen, "metrics": metrics})
    _report(metrics["validation"], _HELD_OUT)


def evaluate_split(*, run: Path, data: Path, split: str) -> None:
    """Measures a run on a published split and adds the figures to its folder.

    Raises:
        UsageError: There is no such split, or the folder is not as expected.
        RunError: ``run`` is no finished run.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose from {', '.join(SPLITS)}")
    opened = Run.open(run)
    _ = opened.calibration
    samples = find_samples(data, [split])
    seen = len(opened.split.sides(samples).learned) if opened.split else 0
    if seen:
        _warn(f"{seen} of {len(samples)} radiographs are of patients that the network learned from")
    _report(evaluate(opened, read(samples, split, size=opened.network.input_shape[1:]), split=split), split)


def measure(
    scores: NDArray[np.float32], images: Images, chosen: Mapping[str, Any], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measures log-odds against the truth at the default operating point.

    Args:
        scores: Uncalibrated log-odds of PNEUMONIA, [N].
        images: What they were given for.
        chosen: ``calibration`` and ``operating_points``, from `choose`.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        The figures of one split as they stand in ``metrics.json``.
    """
    name = chosen["operating_points"]["default"]
    point = OperatingPoint(**chosen["operating_points"]["points"][name])
    threshold, calibration = point.threshold, Calibration(**chosen["calibration"])
    labels, probability = images.labels, calibrated(calibration, scores)
    estimates = bootstrapped(labels, probability, images.patients, threshold, resamples=resamples, seed=seed)
    counts = dict(count_samples(images.samples))
    return {
        "patients": counts.pop("patients"),
        "images": counts,
        "operating_point": name,
        "threshold": threshold,
        "metrics": {key: estimate.to_json() for key, estimate in estimates.items()},
        "certain_from": point.upper,
        "decided": {key: each.to_json() for key, each in decided(labels, probability, threshold, point.upper).items()},
        "ece_at_prevalence": None
        if calibration.prevalence is None
        else {
            "prevalence": calibration.prevalence,
            "ece": expected_calibration_error(labels, probability, prevalence=calibration.prevalence),
        },
        "logodds": {
            name: np.quantile(scores[labels == value], QUANTILES).tolist() for value, name in enumerate(LABELS)
        },
        "confusion": confusion(labels, probability, threshold).tolist(),
        "interval": f"95 %, {resamples} bootstrap samples of patients, seed {seed}",
        "by_family": by_group(
            [sample.family for sample in images.samples],
            lambda rows: {
                "images": int(rows.sum()),
                "accuracy": figures(labels[rows], probability[rows], threshold)["accuracy"],
            },
        ),
    }


def read(samples: Sequence[Sample], name: str, *, size: tuple[int, int] = (224, 224)) -> Images:
    """Decodes samples and says how many there are, and which could not be read.

    Args:
        samples: What to decode.
        name: What to call them.
        size: Height and width of the network's input.

    Raises:
        UsageError: No image of a label can be read.
    """
    with console.status(f"reading {len(samples)} {name} images"):
        images = read_images(samples, height=size[0], width=size[1])
    found = count_samples(images.samples)
    by_label = ", ".join(f"{found[label]} {label}" for label in LABELS)
    console.print(f"{name}: {by_label}, {found['patients']} patients")
    for path, reason in images.unreadable:
        _warn(f"  skipped {path.name}: {reason}")
    if images.unreadable:
        _warn(f"  {len(images.unreadable)} unreadable images skipped")
    return images


def _held_out(split: Split, samples: Sequence[Sample], data: Path, size: tuple[int, int]) -> Images:
    sides = split.sides([sample for sample in samples if sample.split != "test"])
    if not sides.held_out:
        raise UsageError(
            f"{data}: holds none of the {len(split.held_out)} patients that the training held out;"
            " point --data at the folder that it was trained on"
        )
    for sentence in describe_misfit(split, sides):
        _warn(sentence)
    return read(sides.held_out, "held-out", size=size)


def _report(result: Mapping[str, Any], name: str) -> None:
    console.print(f"{name}: {result['images']}, threshold {result['threshold']:.4f} ({result['operating_point']})")
    for key, estimate in result["metrics"].items():
        console.print(f"  {key:12} {estimate['value']:.4f}  ({estimate['low']:.4f} to {estimate['high']:.4f})")


def _warn(sentence: str) -> None:
    console.print(sentence, style="yellow", markup=False)
