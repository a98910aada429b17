"""LIME for one radiograph: superpixels, perturbations, scores, surrogate, stopping rule."""

import hashlib
import time
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import BundleError, UsageError
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime import design
from cxr_edge.explanation.lime.estimate import Estimate, Floats
from cxr_edge.explanation.lime.explanation import LimeExplanation, Mode, Score
from cxr_edge.explanation.lime.perturber import BATCH, Perturber
from cxr_edge.explanation.lime.ridge import Selection, fit_ridge
from cxr_edge.explanation.lime.stability import TOP, expected_overlap
from cxr_edge.explanation.lime.surrogate import Surrogate, reach
from cxr_edge.explanation.superpixels import DEFAULT_COUNT, Method, Superpixels, segment
from cxr_edge.prediction.classifier import Classifier

DEFAULT_STABILITY = 0.9
_FIRST, _ENOUGH = 1.5, 1.75
"""Blocks before the first look at the stability, and blocks that suffice unless a stability is asked for: there the
fast mode is as near the converged answer as `lime` at 1000 samples. What the last doubts about the fifth and the sixth
superpixel cost beyond that brings little else."""
REFERENCE_SAMPLES = 1000
LIMIT = 4000
"""Samples after which the fast mode gives up on reaching the stability asked for, and says so."""
_STEP = 32
"""Samples between two looks at the stability, at the least; a look costs as much as one, several beyond 250 samples."""


class Lime:
    """The LIME engine of one network.

    Args:
        classifier: Scores the perturbations.
        gradcam: Its head's gradient, which the fast mode linearises with.
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
        *,
        segments: Method = "slic",
        superpixels: int = DEFAULT_COUNT,
        stability: float | None = None,
        samples: int | None = None,
        budget: float | None = None,
        seed: int | None = None,
    ) -> LimeExplanation:
        """Explain the log-odds of a label, with as few evaluations as the ranking needs (fast mode).

        Perturbations come in pairs of complements from blocks of `folded_hadamard`, one and a half of them, then more
        until the expected overlap of the leading superpixels between two such runs reaches ``stability``. ``samples``
        and ``budget`` override that rule. With so few superpixels that all masks fit one block (or ``samples``), each
        is evaluated once and the answer is exact. The same input and options give the same bytes, unless a
        ``budget`` lets the clock decide.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
            target: The label to explain.
            segments: How to partition the input, see `segment`.
            superpixels: About how many superpixels.
            stability: Expected overlap to reach, above 0 and below 1; None reaches 0.9 or stops after one and
                three quarters of a block (112 perturbations of 30 superpixels).
            samples: How many perturbations, rounded up to whole pairs.
            budget: Seconds to stop within; one batch of perturbations is always evaluated.
            seed: None derives it from the pixels and the options.

        Raises:
            UsageError: An option out of range, or an unknown label.
            BundleError: The network answers NaN or infinity.
        """
        if stability is not None and not 0 < stability < 1:
            raise UsageError(f"stability {stability}; expected a share above 0 and below 1, such as 0.85")
        if budget is not None and not budget > 0:
            raise UsageError(f"budget {budget}; expected seconds above 0")
        start = time.monotonic()
        regions = self._regions(image, target, segments, superpixels, samples)
        options = ("fast", segments, superpixels, stability, samples)
        seed = _derive(image, options) if seed is None else seed
        perturber = Perturber(image, regions)
        if perturber.flat:
            score = float(self.classifier.logodds(image[None])[0])
            zeros = np.zeros(regions.count)
            estimate, stopped, reached = Estimate(zeros, zeros, score, 1.0, 0), "flat", 1.0
        elif regions.count <= design.MAX_EXACT or 2**regions.count <= (samples or 0):
            estimate, stopped, reached = self._exact(perturber, regions), "exact", 1.0
        else:
            run = _Run(self, perturber, regions, np.random.default_rng(seed))
            if samples is not None or budget is not None:
                wanted = LIMIT if samples is None else samples + samples % 2
                complete = run.take(wanted, deadline=None if budget is None else start + budget)
                stopped = "budget" if not complete else "limit" if samples is None else "samples"
                estimate = run.surrogate.estimate()
                reached = expected_overlap(estimate.coefficients, estimate.variance)
            else:
                estimate, reached, stopped = run.until_stable(stability)
        sign = 1.0 if target == self._positive else -1.0
        signed = Estimate(
            sign * estimate.coefficients,
            estimate.variance,
            sign * estimate.intercept,
            estimate.r_squared,
            estimate.samples,
        )
        return self._explanation(image, regions, signed, target, "fast", "logodds", reached, stopped, seed)

    def explain_reference(
        self,
        image: NDArray[np.float32],
        target: str,
        *,
        segments: Method | Superpixels = "slic",
        superpixels: int = DEFAULT_COUNT,
        samples: int = REFERENCE_SAMPLES,
        score: Score = "probability",
        features: int | None = None,
        selection: Selection = "auto",
        seed: int | None = None,
    ) -> LimeExplanation:
        """Compute what ``lime.lime_image.LimeImageExplainer(random_state=seed).explain_instance`` computes.

        Same neighbourhood, distances, kernel, selection and ridge for the same segmentation, seed, sample count and
        score; grey where the package has three equal channels.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
            target: The label to explain.
            segments: How to partition the input, or the partition itself.
            superpixels: About how many superpixels.
            samples: Number of perturbations, the input itself among them.
            score: ``probability`` (calibrated, the package's default use) or ``logodds``.
            features: See `fit_ridge`.
            selection: See `fit_ridge`.
            seed: 0 to 2^32-1; None derives it from the pixels and the options.

        Raises:
            UsageError: An option out of range, or an unknown label.
            BundleError: The network answers NaN or infinity.
        """
        if score not in get_args(Score):
            raise UsageError(f"score {score!r}; expected one of {', '.join(get_args(Score))}")
        regions = self._regions(image, target, segments, superpixels, samples)
        options = ("reference", regions.method, superpixels, samples, score, features, selection)
        seed = _derive(image, options) if seed is None else seed
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed}; expected 0 to {2**32 - 1}")
        random = np.random.RandomState(seed)  # the package's own generator
        random.randint(0, high=1000)  # the package draws a seed for its segmentation first
        masks = design.independent(regions.count, samples, random)
        scores = np.empty(samples)
        for part, inputs in Perturber(image, regions).batches(masks):
            scores[part] = self.classifier.session.run({"pixels": inputs}, [score])[0]
        _check_finite(scores, self.classifier)
        if target != self._positive:
            scores = (1.0 if score == "probability" else 0.0) - scores
        estimate = fit_ridge(masks, scores, features=features, selection=selection)
        reached = expected_overlap(estimate.coefficients, estimate.variance)
        return self._explanation(image, regions, estimate, target, "reference", score, reached, "samples", seed)

    def _regions(
        self,
        image: NDArray[np.float32],
        target: str,
        segments: Method | Superpixels,
        superpixels: int,
        samples: int | None,
    ) -> Superpixels:
        if target not in self._labels:
            raise UsageError(f"target {target!r}; the bundle has {', '.join(self._labels)}")
        if samples is not None and samples < 2:
            raise UsageError(f"{samples} samples; expected at least 2")
        return segments if isinstance(segments, Superpixels) else segment(image, method=segments, count=superpixels)

    def _exact(self, perturber: Perturber, regions: Superpixels) -> Estimate:
        masks = design.exhaustive(regions.count)
        scores = np.empty(len(masks))
        for part, inputs in perturber.batches(masks):
            scores[part] = self.classifier.logodds(inputs)
        _check_finite(scores, self.classifier)
        signs = masks * 2.0 - 1.0
        half = signs.T @ scores / len(masks)
        mean = float(scores.mean())
        variation = float(((scores - mean) ** 2).sum())
        explained = len(masks) * float(half @ half) / variation if variation > 0 else 1.0
        return Estimate(2 * half, np.zeros(regions.count), mean - float(half.sum()), explained, len(masks))

    def _explanation(
        self,
        image: NDArray[np.float32],
        regions: Superpixels,
        estimate: Estimate,
        target: str,
        mode: Mode,
        score: Score,
        stability: float,
        stopped: str,
        seed: int,
    ) -> LimeExplanation:
        return LimeExplanation(
            image=image,
            superpixels=regions,
            estimate=estimate,
            target=target,
            labels=self._labels,
            mode=mode,
            score=score,
            stability=stability,
            top=min(TOP, regions.count),
            stopped=stopped,
            seed=seed,
            provider=self.classifier.session.provider,
            precision=self.classifier.precision,
        )


class _Run:
    """Scores perturbations batch by batch and feeds the surrogate; the first batch fixes the linearisation."""

    def __init__(self, lime: Lime, perturber: Perturber, regions: Superpixels, random: np.random.Generator) -> None:
        features = lime.classifier.bundle.manifest.features
        self.surrogate = Surrogate(reach(regions, features.height, features.width))
        self._lime = lime
        self._perturber = perturber
        self._random = random
        self._count = regions.count
        self._drawn = np.empty((0, regions.count), np.uint8)
        self._gradient: NDArray[np.float32] | None = None

    def until_stable(self, stability: float | None) -> tuple[Estimate, float, str]:
        """Take samples until the stability is reached or the limit is; also gives the stability and why it stopped."""
        block = 2 * design.order(self._count)
        limit, wanted = LIMIT, stability
        if wanted is None:
            limit, wanted = min(LIMIT, _even(_ENOUGH * block)), DEFAULT_STABILITY
        total = min(limit, _even(_FIRST * block))
        while True:
            self.take(total)
            estimate = self.surrogate.estimate()
            reached = expected_overlap(estimate.coefficients, estimate.variance)
            if reached >= wanted:
                return estimate, reached, "stability"
            if total >= limit:
                return estimate, reached, "samples" if stability is None else "limit"
            total = min(limit, total + max(_STEP, total // 8 // BATCH * BATCH))

    def take(self, total: int, *, deadline: float | None = None) -> bool:
        """Take samples until there are ``total``, an even number; give up where the next batch would end too late."""
        while (missing := total - self.surrogate.samples) > 0:
            start = time.monotonic()
            self._score(self._draw(min(missing, BATCH)))
            now = time.monotonic()
            if deadline is not None and missing > BATCH and now + (now - start) > deadline:
                return False
        return True

    def _draw(self, size: int) -> design.Masks:
        if len(self._drawn) < size:
            self._drawn = np.concatenate([self._drawn, design.folded_hadamard(self._count, self._random)])
        masks, self._drawn = self._drawn[:size], self._drawn[size:]
        return masks

    def _score(self, masks: design.Masks) -> None:
        for part, inputs in self._perturber.batches(masks):
            scores, features = self._lime.classifier.session.run({"pixels": inputs}, ["logodds", "features"])
            _check_finite(scores, self._lime.classifier)
            if self._gradient is None:
                self._gradient = self._lime.gradcam.logodds_gradients(features.mean(axis=0))
            contributions = np.einsum("nhwc,hwc->nhw", features, self._gradient).reshape(len(scores), -1)
            self.surrogate.add(masks[part], scores.astype(np.float64), contributions.astype(np.float64))


def _even(samples: float) -> int:
    return 2 * round(samples / 2)


def _derive(image: NDArray[np.float32], options: tuple[object, ...]) -> int:
    content = image.tobytes() + repr((image.shape, options)).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest(), "big")


def _check_finite(scores: Floats, classifier: Classifier) -> None:
    if not np.isfinite(scores).all():
        manifest = classifier.bundle.manifest
        raise BundleError(
            f"the network of bundle {manifest.name} answers {scores[~np.isfinite(scores)][0]} for a perturbed copy of "
            "the radiograph, expected a finite number; export the bundle again or use another with --bundle"
        )
