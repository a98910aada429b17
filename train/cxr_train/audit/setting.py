"""What is audited, on what, and how carefully: what every part of an audit is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model
from cxr_train.audit.answers import Answers, Levels, Rows, answer
from cxr_train.dataset import Images
from cxr_train.metrics import Estimate, bootstrapped_mean, estimate

UNKNOWN, LUNG = 127, 255
"""Values of a lung mask beside 0, which is outside."""


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
        """Of the shipped operating point."""
        return self.model.classifier.threshold

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
