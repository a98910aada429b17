"""What a whole journal says: counts, the histogram of probabilities, what all that was decoded has in common."""

from array import array
from collections import Counter
from itertools import pairwise
from typing import Any

from cxr_edge.results.columns import COLUMNS, Row

BINS = 20
_OWN = {"path", "status", "error_kind", "error_message", "sha256", "time"}  # what failures have as well
_DISTINCT = 100  # warnings may name a value each: so many kinds are told apart


class Summary:
    """A sink that counts.

    Attributes:
        labels: Answers by label.
        positive: The label from the threshold on, None if no answer has it.
        errors: Failures by kind.
        warnings: Answers by warning.
        warned: Answers with at least one warning.
        refused: Inputs that look like no chest radiograph.
        common: Column → the value that every answer and refusal has, for columns that failures do not have.
    """

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.positive: str | None = None
        self.errors: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.warned = self.refused = 0
        self.common: dict[str, Any] = {}
        self._probabilities = array("d")

    @property
    def answered(self) -> int:
        """How many inputs have an answer."""
        return len(self._probabilities)

    @property
    def failed(self) -> int:
        """How many have none."""
        return self.errors.total()

    def append(self, row: Row) -> None:
        """Count a row."""
        if row["status"] == "error":
            self.errors[row["error_kind"]] += 1
            return
        if not self.answered and not self.refused:
            self.common = {column.name: row[column.name] for column in COLUMNS if column.name not in _OWN}
        elif varying := [name for name, value in self.common.items() if row[name] != value]:
            for name in varying:
                del self.common[name]
        if row["status"] == "refused":
            self.refused += 1
            return
        self.labels[row["label"]] += 1
        if row["probability"] >= row["threshold"]:
            self.positive = row["label"]
        self.warned += bool(row["warnings"])
        for warning in row["warnings"]:
            if warning in self.warnings or len(self.warnings) < _DISTINCT:
                self.warnings[warning] += 1
        self._probabilities.append(row["probability"])

    def histogram(self) -> list[int]:
        """Count the answers in `BINS` equal bins of the probability, 1 belonging to the last."""
        counts = [0] * BINS
        for probability in self._probabilities:
            counts[min(int(probability * BINS), BINS - 1)] += 1
        return counts

    def least(self, count: int) -> float:
        """Give the probability from which on there are about ``count`` answers; 0 if there are no more than that."""
        return sorted(self._probabilities)[-count] if self.answered > count else 0.0


def bars(counts: list[int], *, height: int) -> list[dict[str, float]]:
    """Give each bin its bounds in the probability, its count and the height to draw, 0 only if empty."""
    edges = [index / len(counts) for index in range(len(counts) + 1)]
    scale = height / max(*counts, 1)
    return [
        {"low": low, "high": high, "count": count, "height": max(2.0, round(count * scale, 1)) if count else 0.0}
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
    ]
