"""Figures of merit with patient-bootstrapped intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cxr_train.calibration import Floats

_BINS = 15  # of the calibration error


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    The interval is that of a bootstrap of patients (Efron and Tibshirani 1993, section 13.3), and for a share of 0 or
    1, whose bootstrap has no width, that of Wilson (1927).
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def expected_calibration_error(
    labels: NDArray[np.int32], probability: Floats, *, prevalence: float | None = None
) -> float:
    """Mean gap between stated and observed share of PNEUMONIA over bins of equal width (Naeini et al. 2015).

    Args:
        labels: int32 [N].
        probability: float64 [N], 0..1.
        prevalence: The share of PNEUMONIA that the images are weighted to; None leaves them as they are.
    """
    weights, share = np.ones(len(labels)), labels.mean()
    if prevalence is not None and 0 < share < 1:
        weights = np.where(labels == 1, prevalence / share, (1 - prevalence) / (1 - share))
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    return float(np.abs(np.bincount(place, weights * (probability - labels), _BINS)).sum() / weights.sum())


def decided(
    labels: NDArray[np.int32], probability: Floats, threshold: float, certain_from: float
) -> dict[str, Estimate]:
    """What the labels NORMAL, UNSURE and PNEUMONIA come to, each share with Wilson's interval.

    Args:
        labels: int32 [N], 1 for PNEUMONIA.
        probability: float64 [N].
        threshold: NORMAL below it.
        certain_from: PNEUMONIA from it on.

    Returns:
        ``missed``: PNEUMONIA called NORMAL, of all PNEUMONIA; ``false_alarms``: NORMAL called PNEUMONIA, of all NORMAL;
        ``unsure``: of all.
    """
    below, above = probability < threshold, probability >= certain_from
    return {
        "missed": proportion(int(below[labels == 1].sum()), int((labels == 1).sum())),
        "false_alarms": proportion(int(above[labels == 0].sum()), int((labels == 0).sum())),
        "unsure": proportion(int((~below & ~above).sum()), len(labels)),
    }


def figures(labels: NDArray[np.int32], probability: Floats, threshold: float) -> dict[str, float]:
    """Every figure of merit at one threshold; NaN where a class is missing or a ratio is empty.

    Args:
        labels: int32 [N], 1 for PNEUMONIA.
        probability: float64 [N], calibrated.
        threshold: Positive from this probability on.
    """
    once = np.ones((1, len(labels)))
    return {name: float(value[0]) for name, value in _figures(labels, probability, threshold, once).items()}


def confusion(labels: NDArray[np.int32], probability: Floats, threshold: float) -> NDArray[np.int64]:
    """Counts int64 [2, 2]: rows the truth, columns the answer, NORMAL first."""
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (labels, (probability >= threshold).astype(int)), 1)
    return counts


def bootstrapped(
    labels: NDArray[np.int32],
    probability: Floats,
    patients: Sequence[str],
    threshold: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All figures with intervals; patients, not images, are drawn with replacement.

    Args:
        labels: int32 [N].
        probability: float64 [N], calibrated.
        patients: Who each image shows.
        threshold: Positive from this probability on.
        resamples: Bootstrap samples.
        seed: Decides which patients are drawn.
    """
    measured = figures(labels, probability, threshold)
    drawn: dict[str, list[float]] = {name: [] for name in measured}
    for times in _drawn(patients, resamples=resamples, seed=seed):
        for name, values in _figures(labels, probability, threshold, times).items():
            drawn[name] += values.tolist()
    found = {name: _estimate(value, drawn[name]) for name, value in measured.items()}
    called, positive = probability >= threshold, labels == 1
    shares = {"recall": positive, "specificity": ~positive, "precision": called, "accuracy": np.ones(len(labels), bool)}
    for name, rows in shares.items():
        if measured[name] in {0.0, 1.0}:
            found[name] = certain_share(measured[name], np.asarray(patients)[rows].tolist())
    return found


def proportion(part: int, whole: int) -> Estimate:
    """The share of some independent trials, with its interval (Wilson 1927); NaN without a trial."""
    if not whole:
        return Estimate(np.nan, np.nan, np.nan)
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return Estimate(part / whole, float(interval.low), float(interval.high))


def certain_share(value: float, patients: Sequence[str]) -> Estimate:
    """A share of images that is 0 or 1, with its interval.

    The images of a patient are not independent, so each patient counts as one trial.

    Args:
        value: 0 or 1.
        patients: Who each image shows that the share is of.
    """
    whole = len(set(patients))
    return proportion(round(value * whole), whole)


def estimate(
    patients: Sequence[str],
    measure: Callable[[NDArray[np.intp]], float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Any figure with its interval over patients.

    Args:
        patients: Who each image shows; at least one.
        measure: Rows of images [M] → the figure, or NaN where they do not define it.
        resamples: Bootstrap samples.
        seed: Decides which patients are drawn.
    """
    drawn = [measure(rows) for rows in resampled(patients, resamples=resamples, seed=seed)]
    return _estimate(measure(np.arange(len(patients))), drawn)


def resampled(patients: Sequence[str], *, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Draws the images of as many patients as there are, with replacement: the rows [M] of each sample in turn."""
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    rows = [np.flatnonzero(owner == patient) for patient in range(owner.max() + 1)]
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([rows[patient] for patient in rng.integers(len(rows), size=len(rows))])


def bootstrapped_mean(values: Floats, patients: Sequence[str], *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """The mean over images with its interval; patients, not images, are drawn with replacement.

    Args:
        values: float64 [N].
        patients: Who each image shows.
        resamples: Bootstrap samples.
        seed: Decides which patients are drawn.
    """
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    sums, sizes = np.bincount(owner, values), np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), (2.5, 97.5))
    return Estimate(float(values.mean()), float(low), float(high))


def dice(found: NDArray[np.bool_], masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Dice coefficient of each image, float64 [N], over the pixels whose truth is known; NaN without a mask.

    Args:
        found: bool [N, H, W].
        masks: uint8 [N, H, W]: 0 outside, 255 lung, 127 unknown.
    """
    known, lungs = masks != 127, masks == 255
    shared = (found & lungs).sum((1, 2))
    sizes = (found & known).sum((1, 2)) + lungs.sum((1, 2))
    return np.where(lungs.any((1, 2)), 2 * shared / np.maximum(sizes, 1), np.nan)


def by_group(
    names: Sequence[str], evaluate: Callable[[NDArray[np.bool_]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Evaluates each group of images by itself."""
    keys = np.asarray(names)
    return {str(name): evaluate(keys == name) for name in np.unique(keys)}


def _figures(labels: NDArray[np.int32], probability: Floats, threshold: float, times: Floats) -> dict[str, Floats]:
    """Every figure of merit of many samples at once, float64 [B]; scikit-learn takes milliseconds for each of them.

    Args:
        labels: int32 [N].
        probability: float64 [N].
        threshold: Positive from this probability on.
        times: float64 [B, N], how often each image is in each sample.
    """
    called, positive = probability >= threshold, labels == 1
    hit, false, missed, right = (
        times @ rows.astype(np.float64)
        for rows in (called & positive, called & ~positive, ~called & positive, ~called & ~positive)
    )
    total = times.sum(1)
    bins = np.eye(_BINS)[np.minimum((probability * _BINS).astype(int), _BINS - 1)]
    # Images of one probability stand together, the largest first.
    order = np.argsort(-probability, kind="stable")
    starts = np.flatnonzero(np.diff(probability[order], prepend=np.inf))
    hits, falses = (np.add.reduceat(times[:, order] * rows[order], starts, axis=1) for rows in (positive, ~positive))
    hits_so_far, falses_so_far = hits.cumsum(1), falses.cumsum(1)
    below = falses_so_far[:, -1:] - falses_so_far + falses / 2
    precisions = hits_so_far / np.maximum(hits_so_far + falses_so_far, 1)
    both = np.where((hit + missed > 0) & (false + right > 0), 1.0, np.nan)
    return {
        "auroc": both * _ratios((hits * below).sum(1), (hit + missed) * (false + right)),
        "auprc": both * _ratios((hits * precisions).sum(1), hit + missed),
        "recall": _ratios(hit, hit + missed),
        "specificity": _ratios(right, right + false),
        "precision": _ratios(hit, hit + false),
        "f1": _ratios(2 * hit, 2 * hit + false + missed),
        "accuracy": _ratios(hit + right, total),
        "brier": _ratios(times @ (probability - labels) ** 2, total),
        "ece": _ratios(np.abs(times @ (bins * (probability - labels)[:, None])).sum(1), total),
    }


def _drawn(patients: Sequence[str], *, resamples: int, seed: int) -> Iterator[Floats]:
    """The samples of `resampled`, some at a time: float64 [B, N], how often each image is in each of them."""
    several = max(1, 1_000_000 // len(patients))
    rows = resampled(patients, resamples=resamples, seed=seed)
    for start in range(0, resamples, several):
        some = islice(rows, min(several, resamples - start))
        yield np.stack([np.bincount(each, minlength=len(patients)) for each in some]).astype(np.float64)


def _estimate(value: float, drawn: Sequence[float]) -> Estimate:
    finite = np.asarray(drawn)[np.isfinite(drawn)]
    low, high = np.percentile(finite, (2.5, 97.5)) if len(finite) else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def _ratios(parts: Floats, wholes: Floats) -> Floats:
    return np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
