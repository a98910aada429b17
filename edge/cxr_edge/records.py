"""What is said about one input: an answer or a failure, as an object and as one line of JSON."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.bundle import Bundle
from cxr_edge.classifier import Prediction
from cxr_edge.errors import CxrEdgeError
from cxr_edge.gate import Refusal, refuse
from cxr_edge.radiograph import Radiograph
from cxr_edge.scope import scope_warnings
from cxr_edge.variants import Spread

SCHEMA = 1
RESEARCH_USE = "Research use only: this is no medical device, and no diagnosis."


@dataclass(frozen=True, eq=False)
class Answer:
    """A radiograph with its prediction.

    Attributes:
        radiograph: What was looked at.
        prediction: What the network says.
        bundle: The bundle that says it.
        spread: How far small changes move the probability, if that was asked for.
    """

    radiograph: Radiograph
    prediction: Prediction
    bundle: Bundle
    spread: Spread | None = None

    @property
    def label(self) -> str:
        """The label at the operating point."""
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
        return None if gate is None or score is None else refuse(score, gate.threshold)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting the answer, one sentence each."""
        radiograph = self.radiograph
        outside = scope_warnings(radiograph.source, self.bundle.manifest.scope)
        return radiograph.warnings + outside + (self.spread.warnings if self.spread else ())

    def to_json(self) -> dict[str, object]:
        """Give the record, schema 1; a refused input has no label, probability or log-odds in it."""
        path, refusal, answer = self.radiograph.source.path, self.refusal, self.prediction.to_json()
        if refusal is not None:
            answer |= dict.fromkeys(("label", "probability", "logodds"))
        return {
            "schema": SCHEMA,
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
                "score": None if math.isnan(score) else score,
                "threshold": gate.threshold,
                "refused": refusal is not None,
                "reason": refusal and refusal.reason,
            }
        }


@dataclass(frozen=True)
class Failure:
    """An input that could not be answered.

    Attributes:
        path: The input.
        error: Why.
    """

    path: Path
    error: CxrEdgeError

    def to_json(self) -> dict[str, object]:
        """Give the record, schema 1."""
        error = {"kind": self.error.kind, "message": str(self.error)}
        return {"schema": SCHEMA, "path": os.fspath(self.path), "status": "error", "error": error}


def to_line(record: dict[str, object]) -> str:
    """Write a record as one line of ASCII; bytes of a path that are no UTF-8 become lone surrogate escapes."""
    return json.dumps(record, allow_nan=False)
