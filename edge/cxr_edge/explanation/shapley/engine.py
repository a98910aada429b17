"""Shapley values for one radiograph, on LIME's superpixels, perturbed inputs and stopping rule."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import UsageError
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime import FillChange
from cxr_edge.explanation.lime.engine import derive_seed
from cxr_edge.explanation.lime.perturbations import Perturber, exhaustive
from cxr_edge.explanation.lime.sampling import LIMIT, Sampling, Scorer
from cxr_edge.explanation.lime.surrogate import TOP, Estimate, reach
from cxr_edge.explanation.shapley import ShapExplanation
from cxr_edge.explanation.shapley.surrogate import Coalitions, ShapleySurrogate, exact_shapley
from cxr_edge.explanation.superpixels import Superpixels, segment
from cxr_edge.prediction.classifier import Classifier

MAX_EXACT_SHAPLEY = 12
"""Up to this many superpixels every one of the 2^d coalitions is evaluated, unless the options say how many."""


class Shapley:
    """The Shapley values of one network.

    Args:
        classifier: Scores the coalitions.
        gradcam: Its head's gradient, which linearises the places of the feature map.
    """

    def __init__(self, classifier: Classifier, gradcam: GradCam) -> None:
        self.classifier = classifier
        self.gradcam = gradcam
        manifest = classifier.bundle.manifest
        self._positive = manifest.positive
        self._labels = (next(label for label in manifest.labels if label != manifest.positive), manifest.positive)

    def explain(
        self,
        image: NDArray[np.float32],
        target: str,
        options: LimeOptions | None = None,
        *,
        regions: Superpixels | None = None,
    ) -> ShapExplanation:
        """Share the log-odds of one input out among its superpixels; see `cxr_edge.explanation.shapley.surrogate`.

        As many coalitions are evaluated as LIME's fast mode evaluates perturbations (112 of 30 superpixels), or as
        ``samples``, ``stability`` or ``budget`` say. Up to 12 superpixels all coalitions are, unless one of these three
        is given, and the values are exact. The same input and options give the same bytes, unless a ``budget`` lets the
        clock decide.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
            target: The label to explain, one of the bundle's.
            options: How to run; None means the defaults.
            regions: The partition to explain by instead of the one that ``options`` asks for.

        Raises:
            UsageError: The options ask for LIME's reference mode.
            InputError: The network gives NaN or infinity for a perturbed copy.
        """
        options = options or LimeOptions()
        if options.mode == "reference":
            raise UsageError("the reference mode is LIME's", cure="take the fast mode for Shapley values")
        start = time.monotonic()
        if regions is None:
            regions = segment(image, method=options.segments, count=options.superpixels)
        seed = options.seed
        if seed is None:
            asked = ("shap", regions.method, options.superpixels, options.stability, options.samples, options.fill)
            seed = derive_seed(image, asked)
        perturber = Perturber(image, regions, fill=options.fill)
        estimate, stability, stopped = self._estimate(perturber, regions, options, seed, start)
        sign = 1.0 if target == self._positive else -1.0
        found = ShapExplanation(
            image=image,
            superpixels=regions,
            estimate=replace(estimate, coefficients=sign * estimate.coefficients, intercept=sign * estimate.intercept),
            target=target,
            labels=self._labels,
            score="logodds",
            stability=stability,
            top=min(TOP, regions.count),
            stopped=stopped,
            seed=seed,
            provider=self.classifier.session.provider,
            precision=self.classifier.precision,
            fill=options.fill,
        )
        if options.second_fill is None:
            return found
        again = replace(options, fill=options.second_fill, second_fill=None, seed=seed)
        other = self.explain(image, target, again, regions=regions)
        return replace(found, change=FillChange.between(found, other))

    def _estimate(
        self,
        perturber: Perturber,
        regions: Superpixels,
        options: LimeOptions,
        seed: int,
        start: float,
    ) -> tuple[Estimate, float, str]:
        count, samples = regions.count, options.samples
        scorer = Scorer(self.classifier, self.gradcam, perturber)
        if perturber.flat:
            zeros = np.zeros(count)
            return Estimate(zeros, zeros, float(scorer.logodds(np.ones((1, count), np.uint8))[0]), 1.0, 0), 1.0, "flat"
        free = samples is None and options.budget is None and options.stability is None
        if (free and count <= MAX_EXACT_SHAPLEY) or 2**count <= (LIMIT if samples is None else samples):
            return self._exact(scorer, count), 1.0, "exact"
        features = self.classifier.bundle.manifest.features
        surrogate = ShapleySurrogate(reach(regions, features.height, features.width))
        return Sampling(scorer, surrogate, Coalitions(count, np.random.default_rng(seed)), count).explain(
            options, start
        )

    def _exact(self, scorer: Scorer, count: int) -> Estimate:
        masks = exhaustive(count)
        scores = scorer.logodds(masks)
        values = exact_shapley(scores)
        variation = float(((scores - scores.mean()) ** 2).sum())
        missing = float(((scores - scores[-1] - masks @ values) ** 2).sum())
        explained = 1 - missing / variation if variation > 0 else 1.0
        return Estimate(values, np.zeros(count), float(scores[-1]), explained, len(masks))
