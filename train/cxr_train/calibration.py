"""From log-odds to a probability that means what it says, and the thresholds put on it; both chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from cxr_edge.bundle.manifest import Calibration, OperatingPoint
from cxr_train.dataset import Images
from cxr_train.perturbations import variants

Floats = NDArray[np.float64]
SMALLEST_SCALE = 1e-3
"""Of a network that tells the classes apart no better than chance: all its probabilities are then near one half."""


def calibrated(calibration: Calibration, logodds: NDArray[np.floating]) -> Floats:
    """Probability of PNEUMONIA, sigmoid(scale · log-odds + bias), float64 of the same shape."""
    return np.asarray(1 / (1 + np.exp(-(calibration.scale * np.asarray(logodds, np.float64) + calibration.bias))))


def fit_temperature(logodds: NDArray[np.floating], labels: NDArray[np.int32], *, chosen_on: str) -> Calibration:
    """The temperature (Guo et al. 2017) with the least log loss; of several variants, that of the least certain one.

    Other hospitals' habits are not known beforehand, but they will hardly make the network surer than it is of the
    variant that suits it least (the worst case over groups, Sagawa et al. 2020). Both classes count the same, so that
    it does not lean on how many images of each there were.

    Args:
        logodds: [N], or [V, N] for V variants of the same N images; uncalibrated.
        labels: int32 [N].
        chosen_on: What the images are, for the record.
    """
    model = LogisticRegression(C=np.inf, fit_intercept=False, class_weight="balanced", max_iter=1000)
    variants = np.atleast_2d(np.asarray(logodds, np.float64))
    scale = min(float(model.fit(variant[:, None], labels).coef_[0, 0]) for variant in variants)
    return Calibration("temperature", max(scale, SMALLEST_SCALE), 0.0, chosen_on)


def label_trust(logodds: NDArray[np.floating], labels: NDArray[np.int32]) -> Floats:
    """How likely each PNEUMONIA label is true, float64 [N] in 0..1; NORMAL labels are believed.

    Some radiographs of the Kermany training set are labelled PNEUMONIA and look entirely clear; two of 437 are enough
    to decide a recall of 99.4 %. The scores of the PNEUMONIA labels are taken for a mixture of true ones and of some
    that follow the NORMAL labels' distribution; the mixing share comes from expectation maximisation. Both
    distributions are Student's t with 4 degrees of freedom, placed by the quartiles, which a few wrong labels do not
    move (Lange, Little and Taylor 1989).

    Args:
        logodds: [N].
        labels: int32 [N].
    """
    trust = np.ones(len(labels))
    positive = labels == 1
    scores = np.asarray(logodds, np.float64)
    true, wrong = (
        _robust_t(scores[positive]).pdf(scores[positive]),
        _robust_t(scores[~positive]).pdf(scores[positive]),
    )
    share = 0.01
    for _ in range(200):
        mistaken = share * wrong / (share * wrong + (1 - share) * true)
        share = float(mistaken.mean())
    trust[positive] = 1 - mistaken
    return trust


def operating_points(
    probability: Floats,
    labels: NDArray[np.int32],
    *,
    chosen_on: str,
    recall: float = 0.994,
    trust: Floats | None = None,
) -> dict[str, Any]:
    """Thresholds for a recall of 99.4 %, for Youden's index and for a specificity of 95 %, in the manifest's form.

    A threshold lies half way, in log-odds, between the last score it must include and the next below. The recall and
    specificity in the record are those by the labels as they stand.

    Args:
        probability: float64 [N], or [V, N] for V variants of the same N images; calibrated.
        labels: int32 [N].
        chosen_on: What the images are, for the record.
        recall: What the default point must reach.
        trust: Weight of each image, [N], from `label_trust`; None believes every label.
    """
    variants = np.atleast_2d(probability)
    scores, truth = variants.ravel(), np.tile(labels, len(variants))
    trusted = np.ones(len(labels)) if trust is None else trust
    false_rate, true_rate, thresholds = roc_curve(
        truth, scores, sample_weight=np.tile(trusted, len(variants)), drop_intermediate=False
    )
    mistaken = 1 - trusted[labels == 1].mean()
    note = f", {100 * mistaken:.1f} % of the PNEUMONIA labels being taken for wrong" if trust is not None else ""
    choices = {
        f"recall-{100 * recall:g}": (
            int(np.argmax(true_rate >= recall)),
            f"recall of at least {100 * recall:g} %",
        ),
        "youden": (int(np.argmax(true_rate - false_rate)), "largest recall + specificity (Youden 1950)"),
        "specificity-95": (int(np.flatnonzero(false_rate <= 0.05)[-1]), "specificity of at least 95 %"),
    }
    points = {}
    for name, (row, criterion) in choices.items():
        threshold = _between(thresholds, row)
        called = scores >= threshold
        points[name] = OperatingPoint(
            threshold,
            criterion + note,
            chosen_on,
            float(called[truth == 1].mean()),
            float(1 - called[truth == 0].mean()),
        ).to_json()
    return {"default": next(iter(points)), "points": points}


def choose(score: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: Images) -> dict[str, Any]:
    """Chooses the temperature and the operating points of any network.

    Args:
        score: Images uint8 [N, H, W] → uncalibrated log-odds [N].
        images: Radiographs of patients that it did not learn from; perturbed copies are made of them.

    Returns:
        ``calibration`` and ``operating_points``, in the manifest's form.
    """
    scores = np.stack([score(pixels) for pixels in variants(images.pixels)])
    copies = len(scores) - 1
    chosen_on = f"{len(images.samples)} radiographs of held-out training patients and {copies} perturbed copies of each"
    calibration = fit_temperature(scores, images.labels, chosen_on=chosen_on)
    points = operating_points(
        calibrated(calibration, scores),
        images.labels,
        chosen_on=chosen_on,
        trust=label_trust(scores.mean(axis=0), images.labels),
    )
    return {"calibration": calibration.to_json(), "operating_points": points}


def _robust_t(scores: Floats, *, freedom: float = 4.0) -> Any:
    low, middle, high = np.percentile(scores, [25, 50, 75])
    return stats.t(freedom, middle, max(high - low, 1e-6) / (2 * stats.t.ppf(0.75, freedom)))


def _between(thresholds: Floats, row: int) -> float:
    here = min(thresholds[row], 1 - 1e-9)
    below = thresholds[row + 1] if row + 1 < len(thresholds) else here
    return float(_sigmoid((_logit(here) + _logit(below)) / 2))


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
