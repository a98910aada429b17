"""What a bundle answers to many inputs, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model
from cxr_edge.results.outcomes import Prediction

Levels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
BATCH = 8


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to N inputs, in their order.

    Attributes:
        probability: float64 [N], calibrated, of the positive label.
        logodds: float64 [N], of that probability: comparable between bundles of different calibration.
        gate: float64 [N], how unlike a chest radiograph; None where the bundle has no gate.
        threshold: The largest gate score that is answered; None where the bundle has no gate.
    """

    probability: Floats
    logodds: Floats
    gate: Floats | None
    threshold: float | None

    @property
    def refused(self) -> Rows | None:
        """What the gate refuses, bool [N]: scores above the threshold and those that are no number."""
        return None if self.gate is None or self.threshold is None else ~(self.gate <= self.threshold)

    def __getitem__(self, rows: Rows) -> Answers:
        """The answers to some of the inputs."""
        gate = None if self.gate is None else self.gate[rows]
        return Answers(self.probability[rows], self.logodds[rows], gate, self.threshold)


def answer(model: Model, inputs: Levels | NDArray[np.float32]) -> Answers:
    """Asks a bundle.

    Args:
        model: The bundle, with its gate.
        inputs: [N, height, width] in 0..255 at the network's size.
    """
    predictions: list[Prediction] = []
    for start in range(0, len(inputs), BATCH):
        predictions += model.classifier.predict(inputs[start : start + BATCH].astype(np.float32))
    return gathered(model, predictions)


def gathered(model: Model, predictions: Sequence[Prediction]) -> Answers:
    """Puts predictions of a bundle into arrays."""
    calibration, gate = model.bundle.manifest.calibration, model.bundle.manifest.gate
    logodds = np.array([prediction.logodds for prediction in predictions], np.float64)
    scores = np.array([prediction.gate_score for prediction in predictions], np.float64)  # None becomes NaN
    return Answers(
        np.array([prediction.probability for prediction in predictions], np.float64),
        calibration.scale * logodds + calibration.bias,
        None if gate is None else scores,
        None if gate is None else gate.threshold,
    )
