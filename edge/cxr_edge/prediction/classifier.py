"""Inputs → predictions."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Manifest
from cxr_edge.errors import UsageError
from cxr_edge.prediction.gate import Gate
from cxr_edge.results.decision import DecisionRule, reweighed
from cxr_edge.results.outcomes import Prediction
from cxr_edge.runtime.networks import DESCRIPTOR, open_classifier
from cxr_edge.runtime.providers import BF16, Provider
from cxr_edge.runtime.sessions import Session
from cxr_edge.runtime.tuning import stated_bounds

MARGIN = 2.0
"""The largest error of a few hundred radiographs is not that of all: among 5,812, 1.9 times as much was seen (python
benchmarks/tuned_labels.py)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the network computes for a batch, without a decision.

    Attributes:
        logodds: float32 [N].
        features: The last convolutional maps, float32 [N, height, width, channels].
    """

    logodds: NDArray[np.float32]
    features: NDArray[np.float32]


class Classifier:
    """The network of a bundle at one operating point.

    Attributes:
        bundle: Where the network came from.
        precision: ``fp32``, ``int8`` or ``bf16``.
        rule: How a probability becomes a label at the operating point.
        limits: The thresholds of the rule in calibrated log-odds, whatever the prevalence.
        session: The loaded network.
        gate: What scores its inputs; None where there is none or it was switched off.
        exact_labels: Whether an answer that another precision than fp32 could have turned is computed again in fp32.
        maps: What else its network computes for `Prediction.maps`; see `with_maps`.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.
        precision: One of the bundle's precisions.
        operating_point: One of the bundle's operating points; None takes its default.
        unsure: Whether `UNSURE` is an answer; False decides for the nearer threshold.
        prevalence: The share of the positive label that probabilities are re-weighed to, between 0 and 1; None leaves
            that of the bundle. No label changes.
        gate: Whether inputs are scored, where the bundle has a gate.
        spinning: See `open_session`.
        exact_labels: See above; the bounds are those that the bundle states for the precision.
        reason: Why it is this provider and precision; None leaves it to the session to say.

    Raises:
        UsageError: The bundle has no such precision or operating point, states no bounds for ``exact_labels``, or does
            not say at which prevalence its probabilities hold; or ``prevalence`` is out of bounds.
        ProviderError: See `open_session`.
        BundleError: See `open_session`; or the network, the gate and the manifest do not fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        precision: str = "fp32",
        operating_point: str | None = None,
        unsure: bool = True,
        prevalence: float | None = None,
        gate: bool = True,
        spinning: bool = True,
        exact_labels: bool = False,
        reason: str | None = None,
    ) -> None:
        manifest = bundle.manifest
        if precision not in {*manifest.precisions, BF16}:
            raise UsageError(f"precision {precision!r}", cure=f"the bundle has {', '.join(manifest.precisions)}")
        operating_point = operating_point or manifest.operating_points.default
        if operating_point not in manifest.operating_points.points:
            points = ", ".join(manifest.operating_points.points)
            raise UsageError(f"operating point {operating_point!r}", cure=f"the bundle has {points}")
        self.bundle = bundle
        self.precision = precision
        point = manifest.operating_points.points[operating_point]
        negative = next(label for label in manifest.labels if label != manifest.positive)
        rule = DecisionRule(operating_point, point.threshold, point.upper, negative, manifest.positive)
        rule = rule if unsure else rule.without_unsure()
        self.limits = rule.limits
        self._prevalences = None
        if prevalence is not None:
            self._prevalences = prevalence, _calibrated_at(bundle, prevalence)
            rule = rule.at_prevalence(prevalence, calibrated_at=self._prevalences[1])
        self.rule = rule
        self.session = open_classifier(
            bundle,
            precision,
            descriptor=gate and manifest.gate is not None,
            provider=provider,
            threads=threads,
            spinning=spinning,
        )
        if reason is not None:
            self.session = replace(self.session, reason=reason)
        self.gate = Gate(bundle) if gate and manifest.gate else None
        self.exact_labels = exact_labels
        self._doubt = Doubt(self, manifest, unsure=unsure, prevalence=prevalence) if exact_labels else None
        self.maps: tuple[str, ...] = ()

    def with_maps(self, session: Session, maps: tuple[str, ...]) -> Classifier:
        """Give the same classifier on a session whose network goes on to compute maps, so that it runs only once.

        Args:
            session: Of the same network in the same precision, with more outputs.
            maps: Their names; `Prediction.maps` has them.
        """
        other = copy(self)
        other.session, other.maps = session, maps
        return other

    def predict(self, inputs: NDArray[np.float32]) -> tuple[Prediction, ...]:
        """Answer a batch.

        Args:
            inputs: float32 [N, height, width] in 0..255, from `to_input`.

        Returns:
            N predictions in the same order; see `Prediction.is_finite`.
        """
        predictions = self._predict(inputs)
        return self._doubt.settle(inputs, predictions) if self._doubt else predictions

    def _predict(self, inputs: NDArray[np.float32]) -> tuple[Prediction, ...]:
        count = len(inputs)
        names = ["logodds", "probability", "features", *([DESCRIPTOR] if self.gate else []), *self.maps]
        logodds, probability, features, *rest = self.session.run({"pixels": inputs}, names)
        probability = self._reweighed(probability)
        maps = rest[len(rest) - len(self.maps) :]
        descriptors = rest[0] if self.gate else [None] * count
        scores = self.gate.scores(rest[0]) if self.gate else None
        return tuple(
            Prediction(
                logodds=float(logodds[row]),
                probability=float(probability[row]),
                label=self.rule.label(float(probability[row])),
                threshold=self.rule.threshold,
                certain_from=self.rule.certain_from,
                positive=self.rule.positive,
                operating_point=self.rule.operating_point,
                features=features[row],
                provider=self.session.provider,
                precision=self.precision,
                input=inputs[row],
                gate_score=None if scores is None else float(scores.distance[row]),
                scope_score=None if scores is None or scores.elsewhere is None else float(scores.elsewhere[row]),
                descriptor=descriptors[row],
                maps={name: values[row] for name, values in zip(self.maps, maps, strict=True)},
            )
            for row in range(count)
        )

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give only the calibrated probabilities, float32 [N], of a batch float32 [N, height, width] in 0..255."""
        return self._reweighed(self.session.run({"pixels": inputs}, ["probability"])[0])

    def logodds(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give only the log-odds, float32 [N], of a batch float32 [N, height, width] in 0..255."""
        return self.session.run({"pixels": inputs}, ["logodds"])[0]

    def evaluate(self, inputs: NDArray[np.float32]) -> Evaluation:
        """Give log-odds and features of a batch float32 [N, height, width] in 0..255."""
        logodds, features = self.session.run({"pixels": inputs}, ["logodds", "features"])
        return Evaluation(logodds, features)

    def _reweighed(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._prevalences is None:
            return probability
        prevalence, calibrated_at = self._prevalences
        return reweighed(probability, prevalence, calibrated_at=calibrated_at).astype(np.float32)


def _calibrated_at(bundle: Bundle, prevalence: float) -> float:
    stated = bundle.manifest.calibration.prevalence
    if not 0 < prevalence < 1:
        raise UsageError(f"prevalence {prevalence:g}; expected a share between 0 and 1, as 0.3")
    if stated is None:
        cure = "leave --prevalence out, or calibrate the bundle anew: cxr-train calibrate"
        raise UsageError("the bundle does not say at which prevalence its probabilities hold", cure=cure)
    return stated


class Doubt:
    """Computes again in fp32 what another arithmetic could have given another label, or refused by mistake.

    That is what lies nearer to a threshold than `MARGIN` times the largest error that the bundle states.

    Args:
        classifier: Whose answers are looked at.
        manifest: Of its bundle.

    Raises:
        UsageError: The bundle does not state how far the precision is from fp32.
    """

    def __init__(self, classifier: Classifier, manifest: Manifest, *, unsure: bool, prevalence: float | None) -> None:
        bounds = stated_bounds(manifest, classifier.precision)
        if bounds is None or (classifier.gate and not bounds.cover(manifest)):
            problem = f"the bundle does not state how far {classifier.precision} is from fp32"
            raise UsageError(problem, cure="take --precision fp32")
        calibration = manifest.calibration
        self._levels = [(level - calibration.bias) / calibration.scale for level in classifier.limits]
        self._bounds = bounds
        self._gate = manifest.gate
        self._classifier = classifier
        self._asked = unsure, prevalence
        self._opening = Lock()
        self._fp32: Classifier | None = None

    def settle(self, inputs: NDArray[np.float32], predictions: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
        """Give the predictions with those in doubt replaced by fp32's."""
        rows = [row for row, each in enumerate(predictions) if not self._is_sure(each)]
        if not rows:
            return predictions
        exact = dict(zip(rows, self._exact().predict(inputs[rows]), strict=True))
        return tuple(exact.get(row, each) for row, each in enumerate(predictions))

    def _is_sure(self, prediction: Prediction) -> bool:
        """Say whether every number is far enough from its threshold; one that is no number is not."""
        far = [abs(prediction.logodds - level) > MARGIN * self._bounds.logodds for level in self._levels]
        if self._gate and prediction.gate_score is not None and self._bounds.gate is not None:
            far.append(abs(prediction.gate_score - self._gate.threshold) > MARGIN * self._bounds.gate)
        scope = self._gate and self._gate.scope
        if scope and prediction.scope_score is not None and self._bounds.scope is not None:
            far.append(abs(prediction.scope_score - scope.threshold) > MARGIN * self._bounds.scope)
        return all(far)

    def _exact(self) -> Classifier:
        with self._opening:
            if self._fp32 is None:  # most machines never need it
                asked, (unsure, prevalence) = self._classifier, self._asked
                self._fp32 = Classifier(
                    asked.bundle,
                    provider="cpu",
                    threads=asked.session.threads,
                    operating_point=asked.rule.operating_point,
                    unsure=unsure,
                    prevalence=prevalence,
                    gate=asked.gate is not None,
                )
            return self._fp32
