"""A LIME explanation: coefficients with their intervals, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import UsageError
from cxr_edge.explanation import Mode, Score
from cxr_edge.explanation.lime.surrogate import Estimate, Floats
from cxr_edge.explanation.superpixels import Superpixels

if TYPE_CHECKING:
    from lime.lime_image import ImageExplanation

_Z95 = 1.959964


@dataclass(frozen=True, eq=False)
class LimeExplanation:
    """How much each superpixel speaks for a label.

    Attributes:
        image: The input, float32 [height, width] in 0..255.
        superpixels: Its regions.
        estimate: The surrogate fitted to the score of ``target``.
        target: The label that positive coefficients speak for.
        labels: The network's labels, the negative one first.
        mode: ``fast`` or ``reference``.
        score: What the surrogate predicts: ``logodds`` or calibrated ``probability`` of the target.
        stability: Share of the ``top`` leading superpixels that another run of this size, with another seed, is
            expected to name as well, 0..1.
        top: How many superpixels lead.
        stopped: Why sampling ended: ``stability``, ``samples``, ``budget``, ``limit``, ``exact`` (every mask was
            evaluated) or ``flat`` (hiding superpixels changes nothing; nothing was evaluated).
        seed: What the perturbations were drawn from.
        provider: What computed the scores, `Session.provider`.
        precision: ``fp32`` or ``int8``.
    """

    image: NDArray[np.float32]
    superpixels: Superpixels
    estimate: Estimate
    target: str
    labels: tuple[str, str]
    mode: Mode
    score: Score
    stability: float
    top: int
    stopped: str
    seed: int
    provider: str
    precision: str

    @property
    def coefficients(self) -> Floats:
        """Change of the score when the superpixel is shown: float64 [d]."""
        return self.estimate.coefficients

    @property
    def intervals(self) -> Floats:
        """95 % interval of each coefficient: float64 [d, 2]."""
        half = _Z95 * np.sqrt(self.estimate.variance)
        return np.stack([self.coefficients - half, self.coefficients + half], axis=1)

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Superpixels by falling absolute coefficient: [d]."""
        return np.argsort(-np.abs(self.coefficients), kind="stable")

    def to_json(self) -> dict[str, object]:
        """Give the record of the explanation; superpixels in order of falling absolute coefficient."""
        intervals = self.intervals
        return {
            "method": "lime",
            "mode": self.mode,
            "score": self.score,
            "target": self.target,
            "samples": self.estimate.samples,
            "stopped": self.stopped,
            "r_squared": self.estimate.r_squared,
            "stability": {"expected_overlap": self.stability, "top": self.top},
            "intercept": self.estimate.intercept,
            "segments": self.superpixels.to_json(),
            "coefficients": [
                {
                    "superpixel": int(index),
                    "coefficient": float(self.coefficients[index]),
                    "interval": [float(bound) for bound in intervals[index]],
                }
                for index in self.ranking
            ],
            "seed": self.seed,
            "provider": self.provider,
            "precision": self.precision,
        }

    def to_lime(self) -> ImageExplanation:
        """Give the explanation as the ``lime`` package's own object, with both labels by their index.

        Raises:
            UsageError: The package is not installed.
        """
        try:
            from lime.lime_image import ImageExplanation  # optional, takes 1.8 s to import
        except ImportError as error:
            raise UsageError("the lime package is not installed", cure="run pip install 'cxr-edge[lime]'") from error
        explanation = ImageExplanation(np.repeat(self.image[:, :, None], 3, axis=2), self.superpixels.labels)
        whole = 1.0 if self.score == "probability" else 0.0
        for index, label in enumerate(self.labels):
            sign = 1.0 if label == self.target else -1.0
            explanation.intercept[index] = self.estimate.intercept if sign > 0 else whole - self.estimate.intercept
            explanation.local_exp[index] = [
                (int(superpixel), sign * float(self.coefficients[superpixel]))
                for superpixel in self.ranking
                if self.coefficients[superpixel]
            ]
        explanation.score = self.estimate.r_squared
        explanation.top_labels = [self.labels.index(self.target), 1 - self.labels.index(self.target)]
        return explanation
