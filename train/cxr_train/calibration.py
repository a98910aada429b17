"""From log-odds to a probability that means what it says, and the thresholds put on it; both chosen on validation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from cxr_edge.manifest import Calibration, OperatingPoint

Floats = NDArray[np.float64]


def calibrated(calibration: Calibration, logodds: NDArray[np.floating]) -> Floats:
    """Probability of PNEUMONIA, sigmoid(scale · log-odds + bias), float64 of the same shape."""
    return np.asarray(1 / (1 + np.exp(-(calibration.scale * np.asarray(logodds, np.float64) + calibration.bias))))


def fit_temperature(logodds: NDArray[np.floating], labels: NDArray[np.int32], *, chosen_on: str) -> Calibration:
    """The temperature (Guo et al. 2017) with the least log loss.

    Both classes weigh the same, so that it does not lean on how many images of each there were.

    Args:
        logodds: [N], uncalibrated.
        labels: int32 [N].
        chosen_on: What the images are, for the record.
    """
    model = LogisticRegression(C=np.inf, fit_intercept=False, class_weight="balanced", max_iter=1000)
    model.fit(np.asarray(logodds, np.float64)[:, None], labels)
    return Calibration("temperature", float(model.coef_[0, 0]), 0.0, chosen_on)


def operating_points(
    probability: Floats, labels: NDArray[np.int32], *, chosen_on: str, recall: float = 0.994
) -> dict[str, Any]:
    """Thresholds for a recall of 99.4 %, for Youden's index and for a specificity of 95 %, in the manifest's form.

    A threshold lies half way, in log-odds, between the last score it must include and the next below.

    Args:
        probability: float64 [N], calibrated.
        labels: int32 [N].
        chosen_on: What the images are, for the record.
        recall: What the default point must reach.
    """
    false_rate, true_rate, thresholds = roc_curve(labels, probability, drop_intermediate=False)
    choices = {
        f"recall-{100 * recall:g}": (
            int(np.argmax(true_rate >= recall)),
            f"recall of at least {100 * recall:g} %",
        ),
        "youden": (int(np.argmax(true_rate - false_rate)), "largest recall + specificity (Youden 1950)"),
        "specificity-95": (int(np.flatnonzero(false_rate <= 0.05)[-1]), "specificity of at least 95 %"),
    }
    points = {
        name: asdict(
            OperatingPoint(
                _between(thresholds, row), criterion, chosen_on, float(true_rate[row]), float(1 - false_rate[row])
            )
        )
        for name, (row, criterion) in choices.items()
    }
    return {"default": next(iter(points)), "points": points}


def _between(thresholds: Floats, row: int) -> float:
    here = min(thresholds[row], 1 - 1e-9)
    below = thresholds[row + 1] if row + 1 < len(thresholds) else here
    return float(_sigmoid((_logit(here) + _logit(below)) / 2))


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
