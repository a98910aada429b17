"""Inputs → predictions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.prediction.gate import Gate
from cxr_edge.results.decision import DecisionRule, reweighed
from cxr_edge.results.outcomes import Prediction, Spread
from cxr_edge.runtime.networks import DESCRIPTOR, open_classifier
from cxr_edge.runtime.providers import Provider


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
        precision: ``fp32`` or ``int8``.
        rule: How a probability becomes a label at the operating point.
        session: The loaded network.
        gate: What scores its inputs; None where there is none or it was switched off.

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

    Raises:
        UsageError: The bundle has no such precision or operating point, or does not say at which prevalence its
            probabilities hold; or ``prevalence`` is out of bounds.
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
    ) -> None:
        manifest = bundle.manifest
        if precision not in manifest.precisions:
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
        self.gate = Gate(bundle) if gate and manifest.gate else None

    def predict(self, inputs: NDArray[np.float32]) -> tuple[Prediction, ...]:
        """Answer a batch.

        Args:
            inputs: float32 [N, height, width] in 0..255, from `to_input`.

        Returns:
            N predictions in the same order; see `Prediction.is_finite`.
        """
        count = len(inputs)
        names = ["logodds", "probability", "features", *([DESCRIPTOR] if self.gate else [])]
        logodds, probability, features, *rest = self.session.run({"pixels": inputs}, names)
        probability = self._reweighed(probability)
        descriptors = rest[0] if rest else [None] * count
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


Input = NDArray[np.float32]
_SHIFT, _ZOOM, _TURN = 0.02, 0.03, 2.0  # of the side, of the size, degrees
_GAMMA, _CONTRAST, _BLUR = 0.1, 0.1, 0.7  # of the exponent, of the deviation from the mean, pixels


def variants(image: Input) -> dict[str, Input]:
    """Change an input in ways that leave its content as it is, each alone.

    Args:
        image: float32 [height, width] in 0..255.

    Returns:
        By name, arrays of the same shape and range: shifts, turns and zooms (what comes in from outside repeats the
        border), gamma, contrast about the mean, blur.
    """
    height, width = image.shape
    right, down = max(1.0, round(_SHIFT * width)), max(1.0, round(_SHIFT * height))
    level = float(image.mean())
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), _BLUR), np.float32)
    return {
        "shift left": _moved(image, right=-right),
        "shift right": _moved(image, right=right),
        "shift up": _moved(image, down=-down),
        "shift down": _moved(image, down=down),
        f"turn -{_TURN:g} degrees": _moved(image, angle=-_TURN),
        f"turn +{_TURN:g} degrees": _moved(image, angle=_TURN),
        f"zoom {1 - _ZOOM:g}": _moved(image, scale=1 - _ZOOM),
        f"zoom {1 + _ZOOM:g}": _moved(image, scale=1 + _ZOOM),
        f"gamma {1 - _GAMMA:g}": 255 * (image / 255) ** np.float32(1 - _GAMMA),
        f"gamma {1 + _GAMMA:g}": 255 * (image / 255) ** np.float32(1 + _GAMMA),
        f"contrast {1 - _CONTRAST:g}": np.clip(level + (image - level) * np.float32(1 - _CONTRAST), 0, 255),
        f"contrast {1 + _CONTRAST:g}": np.clip(level + (image - level) * np.float32(1 + _CONTRAST), 0, 255),
        f"blur {_BLUR:g} px": blurred,
    }


def spread(classifier: Classifier, image: Input, prediction: Prediction) -> Spread:
    """Say how far changes that mean nothing move an answer; costs as much as so many predictions.

    A probability that a shift by a few pixels or a slightly darker print would have made another one is less sure than
    it says (Ayhan and Berens 2018, section 2; Wang et al. 2019, section 2.3). The variants are fixed, so that the same
    radiograph always gets the same spread; a mirrored one is not among them, because the heart has its side.

    Args:
        classifier: Who answers.
        image: float32 [height, width] in 0..255, from `to_input`.
        prediction: What the classifier says of the image itself.
    """
    changed = variants(image)
    probabilities = classifier.probabilities(np.stack(list(changed.values()))).astype(np.float64)
    return Spread(
        transforms=len(changed),
        mean=float(probabilities.mean()),
        standard_deviation=float(probabilities.std()),
        lowest=float(probabilities.min()),
        highest=float(probabilities.max()),
        label_changed_by=tuple(
            name
            for name, other in zip(changed, probabilities, strict=True)
            if classifier.rule.label(float(other)) != prediction.label
        ),
    )


def _moved(image: Input, *, right: float = 0.0, down: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Input:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix[:, 2] += right, down
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
