"""Whether a stated probability comes true as often as it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_train.audit.setting import Setting
from cxr_train.metrics import Estimate, expected_calibration_error

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """The images with a probability in one tenth of the scale.

    Attributes:
        images: How many.
        stated: The mean of their probabilities.
        observed: The share of them that is of the positive class.
    """

    images: int
    stated: float
    observed: float


@dataclass(frozen=True)
class Reliability:
    """How far stated probabilities are from observed shares.

    Attributes:
        ece: Expected calibration error, 15 bins of equal width (Naeini et al. 2015).
        mean_stated: By class, the mean probability of the positive label.
        bins: What the reliability diagram shows; bins without an image are left out.
    """

    ece: Estimate
    mean_stated: dict[str, float]
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "ece": self.ece.to_json(),
            "mean_stated": self.mean_stated,
            "bins": [vars(each) for each in self.bins],
        }


def reliability(setting: Setting) -> Reliability:
    """Measures the calibration of a bundle."""
    labels, probability = setting.labels, setting.answers.probability
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = tuple(
        Bin(int(rows.sum()), float(probability[rows].mean()), float(labels[rows].mean()))
        for rows in (place == each for each in range(_BINS))
        if rows.any()
    )
    return Reliability(
        setting.estimate(
            lambda rows: expected_calibration_error(labels[rows], probability[rows]), np.ones(len(labels), bool)
        ),
        {name: float(probability[rows].mean()) for name, rows in setting.classes.items()},
        bins,
    )
