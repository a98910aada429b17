"""What a bundle answers: to many inputs, to the radiographs of an audit, and to changed copies of those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cxr_edge.api import Model
from cxr_edge.bundle.manifest import GateSpec
from cxr_edge.results.outcomes import Prediction, refuse
from cxr_train.calibration import Floats
from cxr_train.dataset import Images
from cxr_train.metrics import Estimate, bootstrapped_mean, certain_share, estimate
from cxr_train.perturbations import Levels

Rows = NDArray[np.bool_]
UNKNOWN, LUNG = 127, 255
"""Values of a lung mask beside 0, which is outside."""
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to N inputs, in their order.

    Attributes:
        probability: float64 [N], calibrated, of the positive label.
        logodds: float64 [N], of that probability: comparable between bundles of different calibration.
        gate: float64 [N], how unlike a chest radiograph; None where the bundle has no gate.
        refused: bool [N], what gets no label: no chest radiograph, or one of elsewhere; None where there is no gate.
    """

    probability: Floats
    logodds: Floats
    gate: Floats | None
    refused: Rows | None

    def __getitem__(self, rows: Rows) -> Answers:
        """The answers to some of the inputs."""
        gate = None if self.gate is None else self.gate[rows]
        refused = None if self.refused is None else self.refused[rows]
        return Answers(self.probability[rows], self.logodds[rows], gate, refused)


def answer(model: Model, inputs: Levels | NDArray[np.float32]) -> Answers:
    """Asks a bundle.

    Args:
        model: The bundle, with its gate.
        inputs: [N, height, width] in 0..255 at the network's size.
    """
    predictions: list[Prediction] = []
    for start in range(0, len(inputs), _BATCH):
        predictions += model.classifier.predict(inputs[start : start + _BATCH].astype(np.float32))
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
        None if gate is None else np.array([_refused(gate, prediction) for prediction in predictions], bool),
    )


def _refused(gate: GateSpec, prediction: Prediction) -> bool:
    score = math.nan if prediction.gate_score is None else prediction.gate_score
    return refuse(gate, score, prediction.scope_score) is not None


@dataclass(frozen=True, eq=False)
class Setting:
    """A bundle and the radiographs it is audited on.

    Attributes:
        model: The bundle, at its shipped operating point, with its gate.
        images: The radiographs.
        masks: Their lung masks, uint8 [N, H, W] of 0, `UNKNOWN` and `LUNG`; None without masks.
        answers: What the bundle says to them as they are.
        resamples: Bootstrap samples behind each interval.
        seed: Of the bootstrap.
    """

    model: Model
    images: Images
    masks: Levels | None
    answers: Answers
    resamples: int
    seed: int

    @classmethod
    def of(cls, model: Model, images: Images, *, masks: Levels | None, resamples: int, seed: int) -> Setting:
        """Asks the bundle about the radiographs."""
        return cls(model, images, masks, answer(model, images.pixels), resamples, seed)

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32 [N], 1 for the positive label."""
        return self.images.labels

    @property
    def classes(self) -> dict[str, Rows]:
        """Which images are of which class, by its name, the negative one first."""
        manifest = self.model.bundle.manifest
        names = sorted(manifest.labels, key=lambda name: name == manifest.positive)
        return {name: self.labels == value for value, name in enumerate(names)}

    @property
    def threshold(self) -> float:
        """Of the shipped operating point: NORMAL below it."""
        return self.model.classifier.rule.threshold

    def rank(self, probability: Floats) -> Floats:
        """The label of each probability as 0 (negative), 0.5 (unsure) or 1 (positive), at the shipped point."""
        rule = self.model.classifier.rule
        return ((probability >= rule.threshold) * 0.5 + (probability >= rule.certain_from) * 0.5).astype(np.float64)

    @property
    def masked(self) -> Rows:
        """Which images have a mask with some lung and some outside in it."""
        if self.masks is None:
            return np.zeros(len(self.labels), bool)
        flat = self.masks.reshape(len(self.masks), -1)
        return (flat == LUNG).any(1) & (flat == 0).any(1)

    def patients(self, rows: Rows) -> list[str]:
        """Who some of the images show."""
        return [name for name, chosen in zip(self.images.patients, rows, strict=True) if chosen]

    def estimate(self, measure: Callable[[NDArray[np.intp]], float], rows: Rows) -> Estimate:
        """A figure over some of the images, with its interval over patients; NaN where there is none.

        Args:
            measure: Positions within the chosen images → the figure.
            rows: bool [N], the chosen images.
        """
        if not rows.any():
            return Estimate(np.nan, np.nan, np.nan)
        return estimate(self.patients(rows), measure, resamples=self.resamples, seed=self.seed)

    def mean(self, values: NDArray[np.generic], rows: Rows) -> Estimate:
        """The mean of a value over some of the images, with its interval over patients; NaN values are left out.

        Args:
            values: [M], one for each chosen image.
            rows: bool [N], M of them true.
        """
        numbers, patients = values.astype(np.float64), np.asarray(self.patients(rows))
        known = ~np.isnan(numbers)
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        return bootstrapped_mean(numbers[known], patients[known].tolist(), resamples=self.resamples, seed=self.seed)

    def share(self, hits: NDArray[np.generic], rows: Rows) -> Estimate:
        """The share of some of the images that something holds for, with its interval over patients.

        Args:
            hits: [M], whether it holds (or 0.5 for half), one for each chosen image.
            rows: bool [N], M of them true.
        """
        found = self.mean(hits, rows)
        return certain_share(found.value, self.patients(rows)) if found.value in {0.0, 1.0} else found


@dataclass(frozen=True)
class Change:
    """The answers to changed images against those to the same images as they were.

    Attributes:
        name: The change.
        images: How many were changed and asked about.
        flips: Share of labels that change at the shipped operating point; into or out of UNSURE counts half.
        to_positive: Share of the images whose label becomes the positive one.
        to_negative: Share of the images whose label becomes the negative one.
        flips_at: Share of labels that change, by operating point.
        flips_in: Share of labels that change at the shipped operating point, by class.
        moved: Mean absolute change of the log-odds.
        auroc: Of the changed images; NaN where they are of one class.
        refused: Share of the changed images that the gate refuses; None without a gate.
    """

    name: str
    images: int
    flips: Estimate
    to_positive: float
    to_negative: float
    flips_at: dict[str, float]
    flips_in: dict[str, float]
    moved: Estimate
    auroc: float
    refused: float | None


def compare(setting: Setting, name: str, after: Answers, rows: Rows) -> Change:
    """Sets the answers to changed images against the setting's own.

    Args:
        setting: What is audited.
        name: The change.
        after: The answers to M changed images.
        rows: bool [N], which images those are, M of them.
    """
    before, labels = setting.answers[rows], setting.labels[rows]
    was, became = setting.rank(before.probability), setting.rank(after.probability)
    flipped = np.abs(became - was)
    points = setting.model.bundle.manifest.operating_points.points
    return Change(
        name=name,
        images=len(flipped),
        flips=setting.share(flipped, rows),
        to_positive=_share((became == 1) & (was < 1)),
        to_negative=_share((became == 0) & (was > 0)),
        flips_at={
            point: _share((before.probability >= each.threshold) != (after.probability >= each.threshold))
            for point, each in points.items()
        },
        flips_in={label: _share(flipped[members[rows]]) for label, members in setting.classes.items()},
        moved=setting.mean(np.abs(after.logodds - before.logodds), rows),
        auroc=float(roc_auc_score(labels, after.probability)) if len(set(labels.tolist())) == 2 else np.nan,
        refused=None if after.refused is None else _share(after.refused),
    )


def _share(rows: NDArray[np.generic]) -> float:
    return float(rows.astype(np.float64).mean()) if len(rows) else np.nan
