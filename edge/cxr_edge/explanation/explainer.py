"""An answer → why: Grad-CAM and its relatives, LIME and Shapley values for one radiograph."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from cxr_edge.errors import InputError, UsageError
from cxr_edge.explanation import PREDICTED, CamMethod, LimeOptions, Method, check_choice
from cxr_edge.explanation.gradcam import GradCam, SaliencyMap
from cxr_edge.explanation.hiding import Hidden, hide
from cxr_edge.explanation.layercam import LayerCam
from cxr_edge.explanation.lime import LimeExplanation
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.lungs import Evidence, LungSegmenter, measure_evidence
from cxr_edge.explanation.shapley import ShapExplanation
from cxr_edge.explanation.shapley.engine import Shapley
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import Answer, Prediction
from cxr_edge.results.record import ExplanationPart, to_record
from cxr_edge.runtime.networks import HIRESCAM, LAYERCAM

_WITHOUT_MAP = {"lime", "shap"}
_BACKWARD = {"layercam": LAYERCAM, "hirescam": HIRESCAM}
"""Maps that need a backward pass through the network, and which of its outputs they are made of."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """An answer with the maps that explain it.

    Attributes:
        answer: The answer.
        target: The label that the maps speak for.
        saliency: Grad-CAM or a relative, if asked for.
        lime: The LIME explanation, if asked for.
        evidence: How much of them lies in the lungs; None if the bundle cannot outline lungs.
        shap: The Shapley values, if asked for.
        hidden: What the network says without the places that each map points at, if asked for.
    """

    answer: Answer
    target: str
    saliency: SaliencyMap | None
    lime: LimeExplanation | None
    evidence: Evidence | None = None
    shap: ShapExplanation | None = None
    hidden: tuple[Hidden, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The answer's warnings, and what the evidence adds.

        Where the evidence for a label lies that was not given speaks neither for nor against the answer.
        """
        evidence = self.evidence
        if evidence is None or (self.target != self.answer.label and evidence.outline.implausible is None):
            return self.answer.warnings
        return self.answer.warnings + evidence.warnings

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
            shap=None if self.shap is None else self.shap.to_json(),
            evidence=None if self.evidence is None else self.evidence.to_json(),
            hidden=tuple(each.to_json() for each in self.hidden),
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
        """The Grad-CAM of the classifier's bundle."""
        return GradCam(self._classifier.bundle)

    @cached_property
    def layercam(self) -> LayerCam:
        """The network with its backward pass, on the same provider.

        Raises:
            BundleError: The bundle has none.
        """
        session = self._classifier.session
        return LayerCam(self._classifier.bundle, provider=session.provider, threads=session.threads)

    @cached_property
    def lime(self) -> Lime:
        """The LIME engine of the classifier."""
        return Lime(self._classifier, self.gradcam)

    @cached_property
    def shapley(self) -> Shapley:
        """The Shapley values of the classifier."""
        return Shapley(self._classifier, self.gradcam)

    @cached_property
    def lungs(self) -> LungSegmenter | None:
        """What outlines the lungs, on the same provider; None if the bundle has nothing that does."""
        session = self._classifier.session
        provider: Literal["cpu", "cuda"] = "cuda" if session.provider == "cuda" else "cpu"
        if self._classifier.bundle.manifest.lungs is None:
            return None
        return LungSegmenter(self._classifier.bundle, provider=provider, threads=session.threads)

    def prepare(self, method: Method) -> None:
        """Load what a method needs, before there are threads, which would load it several times over."""
        _ = self.gradcam if method == "gradcam" else self.lime
        _ = self.lungs

    def check(self, *, method: Method, target: str, cam: CamMethod) -> str | None:
        """Check what is asked, before anything is read.

        Args:
            method: See `explain`.
            target: See `explain`.
            cam: See `explain`.

        Returns:
            The bundle's own spelling of the label; None where the label of the answer is meant.

        Raises:
            UsageError: Unknown method, map or label; the message lists those that there are.
            BundleError: LayerCAM is asked for, and the bundle has none.
        """
        check_choice("method", method, get_args(Method))
        check_choice("map", cam, get_args(CamMethod))
        if cam == "layercam" and method not in _WITHOUT_MAP:
            _ = self.layercam  # a bundle without it is refused before anything is read
        if target.casefold() == PREDICTED:
            return None
        labels = self._classifier.bundle.manifest.labels
        for label in labels:
            if label.casefold() == target.casefold():
                return label
        raise UsageError(f"target {target!r}; expected one of {', '.join((PREDICTED, *labels))}")

    def classifier_for(self, method: Method, cam: CamMethod) -> Classifier:
        """Give what answers a radiograph that is explained right afterwards.

        Where a map needs the network's backward pass and the answer is float32, that is one run of the network for
        both: forward and backward. Its last digits may differ from those of the network alone.

        Args:
            method: See `explain`.
            cam: See `explain`.
        """
        layered = self._classifier.bundle.manifest.layercam is not None and self._classifier.precision == "fp32"
        if method in _WITHOUT_MAP or cam not in _BACKWARD or not layered:
            return self._classifier
        return self._classifier.with_maps(self.layercam.session, (_BACKWARD[cam],))

    def explain(
        self,
        answer: Answer,
        *,
        method: Method = "both",
        target: str = PREDICTED,
        cam: CamMethod = "gradcam",
        lime: LimeOptions | None = None,
        hiding: bool = False,
    ) -> Explanation:
        """Explain an answer.

        Args:
            answer: From `Model.predict`.
            method: Which explanations.
            target: A label in any case, or ``predicted``; of an unsure answer that is the positive label.
            cam: Which map from features and gradients. HiResCAM is that of one layer before the last where the bundle
                has LayerCAM; at the last one, where it hasn't, it equals Grad-CAM.
            lime: How LIME and Shapley values are to run; None means the defaults.
            hiding: Whether the network is asked once more without the places that the maps point at.

        Raises:
            InputError: The answer is a refusal: there is no label to explain. Or the network gives NaN.
            UsageError: See `check`.
            BundleError: The bundle cannot explain.
        """
        label = self.check(method=method, target=target, cam=cam) or answer.prediction.explained_label
        if refusal := answer.refusal:
            cure = "--no-gate (gate=False) explains it all the same"
            raise InputError(f"refused, {refusal}", kind="refused", cure=cure, path=answer.radiograph.source.path)
        prediction = answer.prediction
        saliency = explained = values = evidence = None
        if method not in _WITHOUT_MAP:
            saliency = self._saliency(prediction, label, cam)
        if method in {"lime", "both", "all"}:
            explained = self.lime.explain(prediction.input, label, lime)
        if method in {"shap", "all"}:
            regions = None if explained is None else explained.superpixels
            values = self.shapley.explain(prediction.input, label, lime, regions=regions)
        if self.lungs is not None:
            evidence = measure_evidence(self.lungs.outline(prediction.input), label, saliency, explained, values)
        hidden = hide(self._classifier, prediction, saliency, (explained, values)) if hiding else ()
        return Explanation(answer, label, saliency, explained, evidence, values, hidden)

    def _saliency(self, prediction: Prediction, label: str, cam: CamMethod) -> SaliencyMap:
        if cam == "layercam":
            return self.layercam.explain(prediction.input, label, known=prediction.maps)
        if cam == "hirescam" and self._classifier.bundle.manifest.layercam is not None:
            return self.layercam.hirescam(prediction.input, label, known=prediction.maps)
        return self.gradcam.explain(prediction.features, label, method=cam)
