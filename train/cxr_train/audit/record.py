"""``audit.json``: written, judged by bars, and read again to stand beside another audit."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.errors import UsageError
from cxr_edge.files import write_atomically

Audit = Mapping[str, Any]
SCHEMA = 1
FILE = "audit.json"
_PERCENT, _PLAIN = "%", ""


@dataclass(frozen=True)
class Bar:
    """What a trustworthy bundle must reach in one respect.

    Attributes:
        what: What is required of what.
        least: The smallest value that meets it; None where there is a ``most``.
        most: The largest value that meets it; None where there is a ``least``.
        unit: ``%`` shows the value as a percentage.
        read: Finds the value in an audit; None where the audit did not measure it.
    """

    what: str
    read: Callable[[Audit], float | None]
    least: float | None = None
    most: float | None = None
    unit: str = _PERCENT

    @property
    def limit(self) -> str:
        """The requirement in words."""
        word, value = ("at least", self.least) if self.least is not None else ("at most", self.most or 0)
        return f"{word} {100 * value:g} %" if self.unit == _PERCENT else f"{word} {value:g}{self.unit}"

    def shown(self, value: float | None) -> str:
        """A value as people read it."""
        if value is None:
            return "not measured"
        return f"{100 * value:.4g} %" if self.unit == _PERCENT else f"{value:.3f}{self.unit}"

    def met(self, value: float | None) -> bool | None:
        """Whether a value meets the bar; None where it was not measured."""
        if value is None:
            return None
        return value >= self.least if self.least is not None else value <= (self.most or 0)

    def judge(self, audit: Audit) -> dict[str, Any]:
        """The bar with the audit's value."""
        value = self.read(audit)
        return {
            "what": self.what,
            "limit": self.limit,
            "value": value,
            "shown": self.shown(value),
            "met": self.met(value),
        }


def write_record(path: Path, audit: Audit) -> None:
    """Writes an audit."""
    write_atomically(path, json.dumps(audit, indent=1, allow_nan=False).encode() + b"\n")


def read_record(path: Path) -> dict[str, Any]:
    """Reads an audit.

    Raises:
        UsageError: The file is no audit of this version.
    """
    try:
        audit: dict[str, Any] = json.loads(path.read_text("utf-8"))
        schema = audit["schema"], audit["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: {error}; expected an audit.json that cxr-train audit wrote") from error
    if schema != (SCHEMA, "audit"):
        raise UsageError(f"{path}: schema {schema[0]!r} of {schema[1]!r}, expected {SCHEMA} of 'audit'; audit it again")
    return audit


def plain(value: Any) -> Any:
    """JSON's own types all the way down: a dataclass by name of its fields; what is no number becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value.to_json() if hasattr(value, "to_json") else vars(value))
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _metric(name: str) -> Callable[[Audit], float | None]:
    def read(audit: Audit) -> float | None:
        points = audit["discrimination"]["points"]
        shipped = next(point for point in points.values() if point["shipped"])
        return shipped["metrics"][name]["value"]

    return read


def _inside(part: str) -> Callable[[Audit], float | None]:
    def read(audit: Audit) -> float | None:
        return audit["evidence"] and audit["evidence"][audit["bundle"]["positive"]]["means"][part]["value"]

    return read


def _flips(*names: str) -> Callable[[Audit], float | None]:
    """The most labels that one of some probes flips."""

    def read(audit: Audit) -> float | None:
        return max((each["flips"]["value"] for each in audit["probes"] if each["name"] in names), default=None)

    return read


def _gate(part: str) -> Callable[[Audit], float | None]:
    def read(audit: Audit) -> float | None:
        counts = audit["gate"][part]
        return counts and counts["share"] and counts["share"]["value"]

    return read


def _decided(name: str) -> Callable[[Audit], float | None]:
    def read(audit: Audit) -> float | None:
        points = audit["discrimination"]["points"]
        shipped = next(point for point in points.values() if point["shipped"])
        return shipped["decided"][name]["value"] if "decided" in shipped else None

    return read


def _ece(audit: Audit) -> float | None:
    """At the stated prevalence; of the images as they are where none is stated."""
    found = audit["reliability"].get("ece_at_prevalence") or audit["reliability"]["ece"]
    return found["value"]


def _shortcut(audit: Audit) -> float | None:
    """The largest rank correlation of a score with an attribute that says nothing about the lungs."""
    found = [abs(each["value"] or 0) for item in audit["shortcuts"] for each in item["correlation"].values()]
    return max(found, default=None)


BARS: Sequence[Bar] = (
    Bar("recall at the shipped operating point, UNSURE counted as positive", _metric("recall"), least=0.99),
    Bar("specificity there", _metric("specificity"), least=0.8),
    Bar("positives called negative", _decided("missed"), most=0.005),
    Bar("negatives called positive", _decided("false_alarms"), most=0.1),
    Bar("answers that are UNSURE", _decided("unsure"), most=0.12),
    Bar("AUROC", _metric("auroc"), least=0.99, unit=_PLAIN),
    Bar("expected calibration error at the stated prevalence", _ece, most=0.045, unit=_PLAIN),
    Bar("Grad-CAM inside the lungs, positive class (it was trained for that)", _inside("gradcam"), least=0.9),
    Bar("LIME's positive weight inside the lungs, positive class", _inside("lime"), least=0.65),
    Bar(
        "AUROC with the lungs hidden: at most what is left of the outline",
        lambda audit: audit["hidden"] and audit["hidden"]["auroc"],
        most=0.6,
        unit=_PLAIN,
    ),
    Bar(
        "labels flipped by another surrounding of the lungs",
        _flips("outside the lungs grey", "outside the lungs from the other class"),
        most=0.1,
    ),
    Bar("largest rank correlation of the score with a shortcut, within a class", _shortcut, most=0.35, unit=_PLAIN),
    Bar("labels flipped by a black border of 16 pixels", _flips("border"), most=0.02),
    Bar("labels flipped by black corners", _flips("corners"), most=0.02),
    Bar("labels flipped by a blur of 1.5 pixels", _flips("blur"), most=0.04),
    Bar("labels flipped by half the resolution", _flips("down-up"), most=0.03),
    Bar("labels flipped by gamma 0.7 or 1.4, the worse", _flips("gamma 0.7", "gamma 1.4"), most=0.02),
    Bar("labels flipped by contrast 0.7", _flips("contrast 0.7"), most=0.02),
    Bar("labels flipped by noise of 8 grey levels", _flips("noise 8"), most=0.02),
    Bar(
        "labels flipped by an R or L in a corner, the worst of eight",
        lambda audit: max(each["flips"]["value"] for each in audit["markers"]["pasted"]),
        most=0.003,
    ),
    Bar("other pictures that the gate refuses", _gate("all_others"), least=0.98),
    Bar("radiographs that the gate refuses", _gate("all_radiographs"), most=0.015),
    Bar(
        "originals called like their copies",
        lambda audit: audit["originals"] and audit["originals"]["same"] / audit["originals"]["pairs"],
        least=79 / 80,
    ),
    Bar(
        "Dice of the bundle's lung outline",
        lambda audit: audit["outlines"] and audit["outlines"]["dice"]["value"],
        least=0.93,
        unit=_PLAIN,
    ),
    Bar("size of the bundle", lambda audit: audit["bundle"]["bytes"] / 1e6, most=25, unit=" MB"),
)
