"""An answer → why: Grad-CAM and LIME for one radiograph."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError, UsageError
from cxr_edge.explanation.evidence import Evidence, weigh
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime.engine import REFERENCE_SAMPLES, Lime
from cxr_edge.explanation.lime.explanation import LimeExplanation, Mode, Score
from cxr_edge.explanation.lungs import LungSegmenter
from cxr_edge.explanation.saliency import CamMethod, SaliencyMap
from cxr_edge.explanation.superpixels import DEFAULT_COUNT, Method
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.results.outcomes import Answer
from cxr_edge.results.record import ExplanationPart, to_record

Which = Literal["gradcam", "lime", "both"]


@dataclass(frozen=True)
class LimeOptions:
    """How LIME is to run; None takes the mode's own default. See `Lime.explain` and `Lime.explain_reference`.

    Attributes:
        mode: ``fast`` or ``reference``.
        segments: How to partition the input.
        superpixels: About how many superpixels.
        samples: Perturbations.
        seed: What they are drawn from; None derives it from the pixels and the options.
        stability: Fast mode: expected overlap of the leading superpixels to reach; None: see `Lime.explain`.
        budget: Fast mode: seconds to stop within.
        score: ``logodds`` (fast mode) or, in the reference mode, ``probability`` as well.
    """

    mode: Mode = "fast"
    segments: Method = "slic"
    superpixels: int = DEFAULT_COUNT
    samples: int | None = None
    seed: int | None = None
    stability: float | None = None
    budget: float | None = None
    score: Score | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"lime mode {self.mode!r}; expected one of {', '.join(get_args(Mode))}")
        if self.mode == "reference" and (self.stability is not None or self.budget is not None):
            raise UsageError("stability and budget steer the fast mode; the reference mode takes samples only")
        if self.mode == "fast" and self.score == "probability":
            raise UsageError("the fast mode explains the log-odds; take the reference mode for the probability")


@dataclass(frozen=True, eq=False)
class Explanation:
    """An answer with the maps that explain it.

    Attributes:
        answer: The answer.
        target: The label that the maps speak for.
        saliency: Grad-CAM or a relative, if asked for.
        lime: The LIME explanation, if asked for.
        evidence: How much of them lies in the lungs; None if the bundle cannot outline lungs.
    """

    answer: Answer
    target: str
    saliency: SaliencyMap | None
    lime: LimeExplanation | None
    evidence: Evidence | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The answer's warnings, and what the evidence adds.

        Where the evidence for a label lies that was not given speaks neither for nor against the answer.
        """
        evidence = self.evidence
        tells = evidence is not None and (self.target == self.answer.label or evidence.outline.doubt is not None)
        return self.answer.warnings + (evidence.warnings if evidence is not None and tells else ())

    def to_json(self) -> dict[str, object]:
        """Give the record of the answer with its explanation."""
        return to_record(self.answer, explanation=self.to_part(), research_use=True).to_json()

    def to_part(self, files: Mapping[str, str] | None = None) -> ExplanationPart:
        """Give what a record says about the explanation.

        Args:
            files: File name → path relative to the folder of the record, of the pictures that were drawn.
        """
        return ExplanationPart(
            self.target,
            self.warnings,
            saliency=None if self.saliency is None else self.saliency.to_json(),
            lime=None if self.lime is None else self.lime.to_json(),
            evidence=None if self.evidence is None else self.evidence.to_json(),
            files=files or {},
        )


class Explainer:
    """Explains the answers of one classifier.

    Args:
        classifier: The network that answered.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @cached_property
    def gradcam(self) -> GradCam:
        """The Grad-CAM of the classifier's bundle, on the same provider."""
        # One thread: the head is tiny, and a second pool would spin in the way of the classifier's.
        return GradCam(self._classifier.bundle, provider=self._classifier.session.provider, threads=1)

    @cached_property
    def lime(self) -> Lime:
        """The LIME engine of the classifier."""
        return Lime(self._classifier, self.gradcam)

    @cached_property
    def lungs(self) -> LungSegmenter | None:
        """What outlines the lungs, on the same provider; None if the bundle has nothing that does."""
        session = self._classifier.session
        provider: Literal["cpu", "cuda"] = "cuda" if session.provider == "cuda" else "cpu"
        if self._classifier.bundle.manifest.lungs is None:
            return None
        return LungSegmenter(self._classifier.bundle, provider=provider, threads=session.threads)

    def explain(
        self,
        answer: Answer,
        *,
        method: Which = "both",
        target: str = "predicted",
        cam: CamMethod = "gradcam",
        lime: LimeOptions | None = None,
    ) -> Explanation:
        """Explain an answer.

        Args:
            answer: From `Model.predict`.
            method: Which explanations.
            target: A label, or ``predicted``.
            cam: Which map from features and gradients.
            lime: How LIME is to run; None means its defaults.

        Raises:
            InputError: The answer is a refusal: there is no label to explain.
            UsageError: Unknown method or label, or LIME options that make no sense.
            BundleError: The bundle cannot explain, or the network answers NaN.
        """
        if method not in get_args(Which):
            raise UsageError(f"method {method!r}; expected one of {', '.join(get_args(Which))}")
        if refusal := answer.refusal:
            raise InputError(
                f"{answer.radiograph.source.path or 'input'}: refused, {refusal};"
                " --no-gate (gate=False) explains it all the same",
                kind="refused",
            )
        label = answer.label if target == "predicted" else target
        spec = self._classifier.bundle.manifest.input
        image = to_input(answer.radiograph, height=spec.height, width=spec.width)
        saliency = explained = evidence = None
        if method != "lime":
            saliency = self.gradcam.explain(answer.prediction.features, label, method=cam)
        if method != "gradcam":
            explained = self._run_lime(image, label, lime or LimeOptions())
        if self.lungs is not None:
            evidence = weigh(self.lungs.outline(image), label, saliency, explained)
        return Explanation(answer, label, saliency, explained, evidence)

    def _run_lime(self, image: NDArray[np.float32], label: str, options: LimeOptions) -> LimeExplanation:
        if options.mode == "reference":
            return self.lime.explain_reference(
                image,
                label,
                segments=options.segments,
                superpixels=options.superpixels,
                samples=REFERENCE_SAMPLES if options.samples is None else options.samples,
                score=options.score or "probability",
                seed=options.seed,
            )
        return self.lime.explain(
            image,
            label,
            segments=options.segments,
            superpixels=options.superpixels,
            stability=options.stability,
            samples=options.samples,
            budget=options.budget,
            seed=options.seed,
        )
