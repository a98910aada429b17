"""What LIME and Shapley values share: scoring perturbations, and taking as many as the ranking needs."""

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.gradcam import GradCam, check_finite
from cxr_edge.explanation.lime import perturbations
from cxr_edge.explanation.lime.perturbations import BATCH, Masks, Perturber
from cxr_edge.explanation.lime.surrogate import Estimate, Floats, expected_overlap
from cxr_edge.prediction.classifier import Classifier

DEFAULT_STABILITY = 0.9
_FIRST, _ENOUGH = 1.5, 1.75
"""Blocks before the first look at the stability, and blocks that suffice unless a stability is asked for: there the
fast mode is as near the converged answer as `lime` at 1000 samples. To settle the fifth and the sixth superpixel as
well costs many more, and brings little else."""
LIMIT = 4000
"""Samples after which the fast mode gives up on reaching the stability asked for, and says so."""
_STEP = 32
"""Samples between two looks at the stability, at the least; a look costs as much as one, several beyond 250 samples."""


class Fitted(Protocol):
    """What samples are fed to, and what says what they mean."""

    @property
    def samples(self) -> int:
        """Samples taken in so far."""

    def add(self, masks: Masks, scores: Floats, contributions: Floats) -> None:
        """Take in samples that come in pairs of complements: masks [2p, d], scores [2p], contributions [2p, places]."""

    def estimate(self) -> Estimate:
        """Fit to all samples so far."""


class Design(Protocol):
    """Where perturbations come from."""

    def draw(self, size: int) -> Masks:
        """Draw an even number of perturbations, uint8 [size, d]; rows 2i and 2i+1 are complements."""


class Scorer:
    """Scores perturbations of one input.

    Args:
        classifier: Scores them.
        gradcam: Its head's gradient; at the features of the first batch it linearises all that follow.
        perturber: Composes them.
    """

    def __init__(self, classifier: Classifier, gradcam: GradCam, perturber: Perturber) -> None:
        self._classifier = classifier
        self._gradcam = gradcam
        self._perturber = perturber
        self._gradient: NDArray[np.float32] | None = None

    def logodds(self, masks: Masks) -> Floats:
        """Give the log-odds of perturbations [n, d]: float64 [n].

        Raises:
            InputError: The network gives NaN or infinity.
        """
        scores = np.empty(len(masks))
        for part, inputs in self._perturber.batches(masks):
            scores[part] = self._classifier.logodds(inputs)
        check_finite(scores, "a perturbed copy of it")
        return scores

    def feed(self, masks: Masks, fitted: Fitted) -> None:
        """Score perturbations and hand them on, batch by batch, with what each place of the features contributed.

        Raises:
            InputError: The network gives NaN or infinity.
        """
        for part, inputs in self._perturber.batches(masks):
            found = self._classifier.evaluate(inputs)
            check_finite(found.logodds, "a perturbed copy of it")
            if self._gradient is None:
                self._gradient = self._gradcam.logodds_gradients(found.features.mean(axis=0))
            contributions = np.einsum("nhwc,hwc->nhw", found.features, self._gradient).reshape(len(inputs), -1)
            fitted.add(masks[part], found.logodds.astype(np.float64), contributions.astype(np.float64))


class Sampling:
    """Takes samples until there are enough.

    Args:
        scorer: Scores them.
        fitted: Takes them in.
        design: Where they come from.
        count: Number of superpixels d.
    """

    def __init__(self, scorer: Scorer, fitted: Fitted, design: Design, count: int) -> None:
        self._scorer = scorer
        self._fitted = fitted
        self._design = design
        self._block = 2 * perturbations.order(count)

    def explain(self, options: LimeOptions, start: float) -> tuple[Estimate, float, str]:
        """Take samples as the options say; also gives the stability reached and why it stopped.

        Args:
            options: ``samples`` and ``budget`` override the stability.
            start: When the work began, by `time.monotonic`.
        """
        if options.samples is None and options.budget is None:
            return self._until_stable(options.stability)
        wanted = LIMIT if options.samples is None else options.samples + options.samples % 2
        complete = self._take(wanted, deadline=None if options.budget is None else start + options.budget)
        stopped = "budget" if not complete else "limit" if options.samples is None else "samples"
        estimate = self._fitted.estimate()
        return estimate, expected_overlap(estimate), stopped

    def _until_stable(self, stability: float | None) -> tuple[Estimate, float, str]:
        limit, wanted = LIMIT, stability
        if wanted is None:
            limit, wanted = min(LIMIT, _even(_ENOUGH * self._block)), DEFAULT_STABILITY
        total = min(limit, _even(_FIRST * self._block))
        while True:
            self._take(total)
            estimate = self._fitted.estimate()
            reached = expected_overlap(estimate)
            if reached >= wanted:
                return estimate, reached, "stability"
            if total >= limit:
                return estimate, reached, "samples" if stability is None else "limit"
            total = min(limit, total + max(_STEP, total // 8 // BATCH * BATCH))

    def _take(self, total: int, *, deadline: float | None = None) -> bool:
        """Take samples until there are ``total``, an even number; give up where the next batch would end too late."""
        while (missing := total - self._fitted.samples) > 0:
            start = time.monotonic()
            self._scorer.feed(self._design.draw(min(missing, BATCH)), self._fitted)
            now = time.monotonic()
            if deadline is not None and missing > BATCH and now + (now - start) > deadline:
                return False
        return True


def _even(samples: float) -> int:
    return 2 * round(samples / 2)
