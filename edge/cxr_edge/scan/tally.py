"""Counts of a scan."""

from collections import Counter
from dataclasses import dataclass, field

from cxr_edge.results.journal import State


@dataclass
class Tally:
    """How many inputs had which outcome; one of the two things here that change.

    Attributes:
        labels: Answers by label.
        errors: Failures by kind.
        refused: Inputs that look like no chest radiograph.
        known: How many of all these were in the journal before.
    """

    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    known: int = 0

    @property
    def total(self) -> int:
        """All inputs so far."""
        return self.labels.total() + self.refused + self.errors.total()

    def count(self, state: State, *, known: bool) -> None:
        """Count one input."""
        self.known += known
        if state.kind is not None:
            self.errors[state.kind] += 1
        elif state.label is not None:
            self.labels[state.label] += 1
        else:
            self.refused += 1

    def __str__(self) -> str:
        labels = ", ".join(f"{number} {label}" for label, number in sorted(self.labels.items()))
        errors = ", ".join(f"{kind} {number}" for kind, number in self.errors.most_common())
        refused = [f"{self.refused} refused"] if self.refused else []
        parts = [labels or "no answers", *refused, f"{self.errors.total()} errors" + (f" ({errors})" if errors else "")]
        return f"{self.total} inputs: {', '.join(parts)}; {self.known} were answered before"
