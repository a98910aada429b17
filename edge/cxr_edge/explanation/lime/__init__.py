"""Explanations by superpixels: coefficients with their intervals, and how they came about; LIME's among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import UsageError
from cxr_edge.explanation import Fill, Mode, Score
from cxr_edge.explanation.lime.surrogate import Estimate, Floats
from cxr_edge.explanation.superpixels import Superpixels

if TYPE_CHECKING:
    from lime.lime_image import ImageExplanation

_Z95 = 1.959964


@dataclass(frozen=True)
class FillChange:
    """How far an explanation depends on what a hidden superpixel looks like.

    Attributes:
        fill: The second fill.
        overlap: Share of the leading superpixels that lead under both, 0..1.
        correlation: Spearman's rank correlation of all values, -1..1; 1 where one of them is constant.
    """

    fill: Fill
    overlap: float
    correlation: float

    @classmethod
    def between(cls, one: SuperpixelExplanation, other: SuperpixelExplanation) -> FillChange:
        """Compare explanations of one input under two fills."""
        overlap = len({*one.ranking[: one.top].tolist()} & {*other.ranking[: one.top].tolist()}) / one.top
        first, second = (np.argsort(np.argsort(each.coefficients, kind="stable")) for each in (one, other))
        varied = all(np.ptp(each.coefficients) > 0 for each in (one, other))
        return cls(other.fill, overlap, float(np.corrcoef(first, second)[0, 1]) if varied else 1.0)

    def to_json(self) -> dict[str, object]:
        """Give the record."""
        return {"fill": self.fill, "overlap": self.overlap, "rank_correlation": self.correlation}


@dataclass(frozen=True, eq=False, kw_only=True)
class SuperpixelExplanation:
    """How much each superpixel speaks for a label.

    Attributes:
        image: The input, float32 [height, width] in 0..255.
        superpixels: Its regions.
        estimate: What was found for ``target``.
        target: The label that positive coefficients speak for.
        labels: The network's labels, the negative one first.
        score: What is explained: ``logodds`` or calibrated ``probability`` of the target.
        stability: Share of the ``top`` leading superpixels that another run of this size, with another seed, is
            expected to name as well, 0..1.
        top: How many superpixels lead.
        stopped: Why sampling ended: ``stability``, ``samples``, ``budget``, ``limit``, ``exact`` (every mask was
            evaluated) or ``flat`` (hiding superpixels changes nothing; nothing was evaluated).
        seed: What the perturbations were drawn from.
        provider: What computed the scores, `Session.provider`.
        precision: ``fp32`` or ``int8``.
        fill: What a hidden superpixel looks like.
        change: How far the ranking changes under a second fill; None where none was asked for.
    """

    image: NDArray[np.float32]
    superpixels: Superpixels
    estimate: Estimate
    target: str
    labels: tuple[str, str]
    score: Score
    stability: float
    top: int
    stopped: str
    seed: int
    provider: str
    precision: str
    fill: Fill = "mean"
    change: FillChange | None = None

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

    @property
    def method(self) -> str:
        """What computed it, ``lime`` or ``shap``."""
        raise NotImplementedError  # each kind of explanation below names itself

    def to_json(self) -> dict[str, object]:
        """Give the record of the explanation; superpixels in order of falling absolute coefficient."""
        intervals = self.intervals
        return {
            "method": self.method,
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
            "fill": self.fill,
            **({} if self.change is None else {"second_fill": self.change.to_json()}),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class LimeExplanation(SuperpixelExplanation):
    """The coefficients of LIME's surrogate.

    Attributes:
        mode: ``fast`` or ``reference``.
    """

    mode: Mode

    @property
    def method(self) -> str:
        """``lime``."""
        return "lime"

    def to_json(self) -> dict[str, object]:
        """Give the record of the explanation; superpixels in order of falling absolute coefficient."""
        return {**super().to_json(), "mode": self.mode}

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
