"""What may become of one input: an answer, a refusal, a failure."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_tb
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import GateSpec
from cxr_edge.errors import CxrEdgeError, InputError
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.schema import RECORD_SCHEMA
from cxr_edge.text import say

T = TypeVar("T")
ScopeAnswer = Literal["in scope", "outside", "no chest radiograph"]
"""Whose radiograph it is: one of those that the network knows, another one, or none at all."""
_UNLIKE = "not like the chest radiographs that the gate was made with"
_ELSEWHERE = "not like the radiographs that the network was trained on"
_NO_NUMBER = "the gate's score is no number"


@dataclass(frozen=True)
class Refusal:
    """Why an input gets no label.

    Attributes:
        score: What it is refused for; NaN where the network could not say.
        threshold: The largest score that is answered.
        reason: The same in words.
        scope: ``no chest radiograph``, or ``outside`` of what the network knows.
    """

    score: float
    threshold: float
    reason: str
    scope: ScopeAnswer = "no chest radiograph"

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.reason} (score {self.score:.4g}, answered up to {self.threshold:.4g})"


def refuse(gate: GateSpec, distance: float, elsewhere: float | None) -> Refusal | None:
    """Judge the scores of an input: refused above a threshold, and where one is no number; None is answered.

    Args:
        gate: With the thresholds.
        distance: How unlike a chest radiograph it is.
        elsewhere: Log-odds of coming from elsewhere; None where the gate does not tell.
    """
    if not distance <= gate.threshold:
        return Refusal(distance, gate.threshold, _NO_NUMBER if math.isnan(distance) else _UNLIKE)
    if gate.scope is None or elsewhere is None or elsewhere <= gate.scope.threshold:
        return None
    return Refusal(elsewhere, gate.scope.threshold, _NO_NUMBER if math.isnan(elsewhere) else _ELSEWHERE, "outside")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one input.

    Attributes:
        logodds: difference of the two logits, positive less negative, before calibration.
        probability: Calibrated probability of the positive label, whatever the label below, 0..1.
        label: The positive label if probability ≥ certain_from, the other if it is below the threshold, else `UNSURE`.
        threshold: The operating point's threshold on the probability, 0..1.
        operating_point: Its name.
        features: The last convolutional map, float32 [height, width, channels].
        provider: What computed it, `Session.provider`.
        precision: What computed it: ``fp32``, ``int8`` or ``bf16``.
        input: What the network took, float32 [height, width] in 0..255: explanations start from it.
        certain_from: The probability from which on the label is the positive one, 0..1; no less than the threshold.
        positive: That label.
        gate_score: How unlike a chest radiograph the input is; None where no gate was asked.
        scope_score: Log-odds that it is not one of the radiographs that the network knows; None where nobody can tell.
        descriptor: What the gate looked at, float32 [D]; None where no gate was asked.
        maps: What a backward pass in the same run gave, by the name of the output; see `Classifier.with_maps`.
    """

    logodds: float
    probability: float
    label: str
    threshold: float
    operating_point: str
    features: NDArray[np.float32]
    provider: str
    precision: str
    input: NDArray[np.float32]
    certain_from: float
    positive: str
    gate_score: float | None = None
    scope_score: float | None = None
    descriptor: NDArray[np.float32] | None = None
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether log-odds and probability are numbers; there is no answer where they are not."""
        return math.isfinite(self.logodds) and math.isfinite(self.probability)

    @property
    def explained_label(self) -> str:
        """The label that an explanation speaks for by itself; of an unsure answer the positive one."""
        return self.positive if self.label == UNSURE else self.label

    def to_json(self) -> dict[str, object]:
        """Give the record of the answer, without the features."""
        names = ("label", "probability", "logodds", "threshold", "operating_point", "provider", "precision")
        gap = {"certain_from": self.certain_from} if self.certain_from != self.threshold else {}
        return {name: getattr(self, name) for name in names} | gap


@dataclass(frozen=True)
class Spread:
    """The answers to the variants of one input.

    Attributes:
        transforms: How many variants.
        mean: Of their calibrated probabilities, 0..1.
        standard_deviation: Of them, 0..1.
        lowest: The least of them.
        highest: The greatest of them.
        label_changed_by: The variants that get another label than the input itself.
    """

    transforms: int
    mean: float
    standard_deviation: float
    lowest: float
    highest: float
    label_changed_by: tuple[str, ...]

    @property
    def label_agreement(self) -> float:
        """The share of variants with the label of the input itself, 0..1."""
        return 1 - len(self.label_changed_by) / self.transforms

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence where the label is not unanimous."""
        warning = (
            f"The label is not stable: {len(self.label_changed_by)} of {self.transforms} small changes turn it"
            f" ({', '.join(self.label_changed_by)}); with them the probability goes from {self.lowest:.4f} to"
            f" {self.highest:.4f}."
        )
        return (warning,) if self.label_changed_by else ()

    def to_json(self) -> dict[str, object]:
        """Give the record of the spread."""
        return {
            "transforms": self.transforms,
            "probability": {key: getattr(self, key) for key in ("mean", "standard_deviation", "lowest", "highest")},
            "label_agreement": self.label_agreement,
            "label_changed_by": list(self.label_changed_by),
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """A radiograph with its prediction.

    Attributes:
        radiograph: What was looked at.
        prediction: What the network says.
        bundle: The bundle that says it.
        outside_scope: What the file states that speaks against asking this network, one sentence each.
        spread: How far small changes move the probability, if that was asked for.
    """

    radiograph: Radiograph
    prediction: Prediction
    bundle: Bundle
    outside_scope: tuple[str, ...] = ()
    spread: Spread | None = None

    @property
    def label(self) -> str:
        """The label at the operating point: one of the bundle's two, or `UNSURE`."""
        return self.prediction.label

    @property
    def probability(self) -> float:
        """The calibrated probability of the positive label, whatever the label, 0..1."""
        return self.prediction.probability

    @property
    def gate_score(self) -> float | None:
        """How unlike a chest radiograph it is; None where no gate was asked."""
        return self.prediction.gate_score

    @property
    def refusal(self) -> Refusal | None:
        """Why the label and the probability are not to be used; None where they are."""
        gate, score = self.bundle.manifest.gate, self.gate_score
        return None if gate is None or score is None else refuse(gate, score, self.prediction.scope_score)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting the answer, one sentence each."""
        return self.radiograph.warnings + self.outside_scope + (self.spread.warnings if self.spread else ())

    def to_json(self) -> dict[str, object]:
        """Give the record, schema 1; a refused input has no label, probability or log-odds in it."""
        path, refusal, answer = self.radiograph.source.path, self.refusal, self.prediction.to_json()
        if refusal is not None:
            answer |= dict.fromkeys(("label", "probability", "logodds"))
        return {
            "schema": RECORD_SCHEMA,
            "path": None if path is None else os.fspath(path),
            "status": "ok" if refusal is None else "refused",
            **answer,
            **({"test_time_augmentation": self.spread.to_json()} if self.spread else {}),
            **self._gate_to_json(refusal),
            "warnings": list(self.warnings),
            "bundle": self.bundle.to_json(),
            "source": self.radiograph.source.to_json(),
        }

    def _gate_to_json(self, refusal: Refusal | None) -> dict[str, object]:
        gate, score = self.bundle.manifest.gate, self.gate_score
        if gate is None or score is None:
            return {}
        return {
            "gate": {
                "score": score if math.isfinite(score) else None,
                "threshold": gate.threshold,
                "refused": refusal is not None,
                "reason": refusal and refusal.reason,
                **self._scope_to_json(gate, refusal),
            }
        }

    def _scope_to_json(self, gate: GateSpec, refusal: Refusal | None) -> dict[str, object]:
        score = self.prediction.scope_score
        if gate.scope is None or score is None:
            return {}
        return {
            "scope": refusal.scope if refusal else "in scope",
            "scope_score": score if math.isfinite(score) else None,
            "scope_threshold": gate.scope.threshold,
        }


@dataclass(frozen=True)
class Failure:
    """An input that could not be answered.

    Attributes:
        path: The input.
        error: Why.
    """

    path: Path
    error: InputError

    @classmethod
    def of(cls, error: InputError) -> "Failure":
        """Make the failure of an error that names its file."""
        if error.path is None:
            raise ValueError(f"an error without a path: {error}")
        return cls(error.path, error)

    def to_json(self) -> dict[str, object]:
        """Give the record."""
        error = {"message": str(self.error)} | {key: getattr(self.error, key) for key in ("kind", "problem", "cure")}
        return {"schema": RECORD_SCHEMA, "path": os.fspath(self.path), "status": "error", "error": error}


def attempt(path: Path, work: Callable[[], T]) -> T | Failure:
    """Do the work for one input, so that one strange file never ends the work on the others.

    Args:
        path: The input.
        work: What is done for it.

    Returns:
        What ``work`` gives, or the failure of this input: an `InputError` as it is, and any exception that is not
        ours as kind ``internal``, by its type alone, because its text may quote what identifies somebody.

    Raises:
        CxrEdgeError: What concerns every input: the bundle, the provider, the output.
    """
    try:
        return work()
    except InputError as error:
        return Failure(path, error if error.path else error.at(path))
    except CxrEdgeError:
        raise
    except Exception as error:  # noqa: BLE001  # see above
        say("".join(format_tb(error.__traceback__)).rstrip(), "debug")
        problem = f"failed inside ({type(error).__name__})"
        return Failure(path, InputError(problem, kind="internal", cure="please report this", path=path))
