"""From a probability to a label, at an operating point and at a prevalence."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Probability = TypeVar("Probability", float, NDArray[np.floating])
UNSURE = "UNSURE"
"""The label between the two thresholds of an operating point: the network has no say either way."""


@dataclass(frozen=True)
class DecisionRule:
    """From a probability to a label: the negative one, `UNSURE`, or the positive one.

    Attributes:
        operating_point: Its name.
        threshold: Below it the label is the negative one, 0..1.
        certain_from: From it on the label is the positive one, no less than the threshold.
        negative: The label of a low probability.
        positive: The label of a high one.
    """

    operating_point: str
    threshold: float
    certain_from: float
    negative: str
    positive: str

    def label(self, probability: float) -> str:
        """Decide."""
        if probability >= self.certain_from:
            return self.positive
        return UNSURE if probability >= self.threshold else self.negative

    @property
    def limits(self) -> tuple[float, float]:
        """The two thresholds in log-odds."""
        return _log_odds(self.threshold), _log_odds(self.certain_from)

    def without_unsure(self) -> "DecisionRule":
        """Give the rule that decides what lies between the two thresholds for the nearer one, in log-odds."""
        middle = _sigmoid((_log_odds(self.threshold) + _log_odds(self.certain_from)) / 2)
        return replace(self, threshold=middle, certain_from=middle)

    def at_prevalence(self, prevalence: float, *, calibrated_at: float) -> "DecisionRule":
        """Give the rule for probabilities of `reweighed`: the same inputs get the same labels."""
        return replace(
            self,
            threshold=float(reweighed(self.threshold, prevalence, calibrated_at=calibrated_at)),
            certain_from=float(reweighed(self.certain_from, prevalence, calibrated_at=calibrated_at)),
        )


def reweighed(probability: Probability, prevalence: float, *, calibrated_at: float) -> Probability:
    """Give the probability where the positive label is as frequent as stated (Saerens et al. 2002, equation 4).

    Args:
        probability: 0..1, a number or an array.
        prevalence: Share of the positive label, between 0 and 1.
        calibrated_at: The share that the probability was calibrated at.
    """
    odds = prevalence / (1 - prevalence) / (calibrated_at / (1 - calibrated_at))
    return probability * odds / (probability * odds + 1 - probability)


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(inside / (1 - inside))


def _sigmoid(logodds: float) -> float:
    return 1 / (1 + math.exp(-logodds))
