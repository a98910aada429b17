"""What is said about one input: an answer or a failure, as an object and as one line of JSON."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.bundle import Bundle
from cxr_edge.classifier import Prediction
from cxr_edge.errors import CxrEdgeError
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
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting the answer, one sentence each."""
        radiograph = self.radiograph
        outside = scope_warnings(radiograph.source, self.bundle.manifest.scope)
        return radiograph.warnings + outside + (self.spread.warnings if self.spread else ())

    def to_json(self) -> dict[str, object]:
        """Give the record, schema 1."""
        path = self.radiograph.source.path
        return {
            "schema": SCHEMA,
            "path": None if path is None else os.fspath(path),
            "status": "ok",
            **self.prediction.to_json(),
            **({"test_time_augmentation": self.spread.to_json()} if self.spread else {}),
            "warnings": list(self.warnings),
            "bundle": self.bundle.to_json(),
            "source": self.radiograph.source.to_json(),
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
