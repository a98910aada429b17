"""Inputs → predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Manifest
from cxr_edge.errors import UsageError
from cxr_edge.prediction.gate import Gate
from cxr_edge.results.outcomes import Prediction, Spread
from cxr_edge.runtime.networks import DESCRIPTOR, open_classifier
from cxr_edge.runtime.providers import BF16, Provider
from cxr_edge.runtime.tuning import stated_bounds


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
        operating_point: The name of the operating point.
        threshold: Its threshold on the calibrated probability.
        session: The loaded network.
        gate: What scores its inputs; None where there is none or it was switched off.
        exact_labels: Whether an answer that another precision than fp32 could have turned is computed again in fp32.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.
        precision: One of the bundle's precisions.
        operating_point: One of the bundle's operating points; None takes its default.
        gate: Whether inputs are scored, where the bundle has a gate.
        spinning: See `open_session`.
        exact_labels: See above; the bounds are those that the bundle states for the precision.
        reason: Why it is this provider and precision; None leaves it to the session to say.

    Raises:
        UsageError: The bundle has no such precision or operating point, or states no bounds for ``exact_labels``.
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
        self.operating_point = operating_point
        self.threshold = manifest.operating_points.points[operating_point].threshold
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
        self._doubt = Doubt(self, manifest) if exact_labels else None
        negative = next(label for label in manifest.labels if label != manifest.positive)
        self._labels = (negative, manifest.positive)

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
        names = ["logodds", "probability", "features", *([DESCRIPTOR] if self.gate else [])]
        logodds, probability, features, *rest = self.session.run({"pixels": inputs}, names)
        descriptors = rest[0] if rest else [None] * count
        scores = self.gate.scores(rest[0]) if self.gate else None
        return tuple(
            Prediction(
                logodds=float(logodds[row]),
                probability=float(probability[row]),
                label=self._labels[bool(probability[row] >= self.threshold)],
                threshold=self.threshold,
                operating_point=self.operating_point,
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
        return self.session.run({"pixels": inputs}, ["probability"])[0]

    def logodds(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give only the log-odds, float32 [N], of a batch float32 [N, height, width] in 0..255."""
        return self.session.run({"pixels": inputs}, ["logodds"])[0]

    def evaluate(self, inputs: NDArray[np.float32]) -> Evaluation:
        """Give log-odds and features of a batch float32 [N, height, width] in 0..255."""
        logodds, features = self.session.run({"pixels": inputs}, ["logodds", "features"])
        return Evaluation(logodds, features)


class Doubt:
    """Computes again in fp32 what another arithmetic could have given another label, or refused by mistake.

    Args:
        classifier: Whose answers are looked at.
        manifest: Of its bundle.

    Raises:
        UsageError: The bundle does not state how far the precision is from fp32.
    """

    def __init__(self, classifier: Classifier, manifest: Manifest) -> None:
        bounds = stated_bounds(manifest, classifier.precision)
        if bounds is None or (classifier.gate and not bounds.cover(manifest)):
            problem = f"the bundle does not state how far {classifier.precision} is from fp32"
            raise UsageError(problem, cure="take --precision fp32")
        calibration, threshold = manifest.calibration, min(max(classifier.threshold, 1e-12), 1 - 1e-12)
        self._level = (math.log(threshold / (1 - threshold)) - calibration.bias) / calibration.scale
        self._bounds = bounds
        self._gate = manifest.gate
        self._classifier = classifier
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
        """Say whether every number is farther from its threshold than the bound; one that is no number is not."""
        far = [abs(prediction.logodds - self._level) > self._bounds.logodds]
        if self._gate and prediction.gate_score is not None and self._bounds.gate is not None:
            far.append(abs(prediction.gate_score - self._gate.threshold) > self._bounds.gate)
        scope = self._gate and self._gate.scope
        if scope and prediction.scope_score is not None and self._bounds.scope is not None:
            far.append(abs(prediction.scope_score - scope.threshold) > self._bounds.scope)
        return all(far)

    def _exact(self) -> Classifier:
        with self._opening:
            if self._fp32 is None:  # most machines never need it
                asked = self._classifier
                self._fp32 = Classifier(
                    asked.bundle,
                    provider="cpu",
                    threads=asked.session.threads,
                    operating_point=asked.operating_point,
                    gate=asked.gate is not None,
                )
            return self._fp32


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
    positive = prediction.probability >= prediction.threshold
    turned = (probabilities >= prediction.threshold) != positive
    return Spread(
        transforms=len(changed),
        mean=float(probabilities.mean()),
        standard_deviation=float(probabilities.std()),
        lowest=float(probabilities.min()),
        highest=float(probabilities.max()),
        label_changed_by=tuple(name for name, other in zip(changed, turned, strict=True) if other),
    )


def _moved(image: Input, *, right: float = 0.0, down: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Input:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix[:, 2] += right, down
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
