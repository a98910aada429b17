"""What a whole journal says, counting only the records that still count."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.expectation import PointRecord, drift
from cxr_edge.results.journal import JOURNAL, SLICES, BadLine, keep_bad_lines, read_journal, read_slices
from cxr_edge.results.output import unwritable
from cxr_edge.results.record import COLUMNS, Row, flatten
from cxr_edge.results.schema import Record


class LatestRecords:
    """The records of an output folder as they are now; what a running scan appends later is left out.

    Of several records of one path the last counts: a failure may be tried again, a watched file may change.

    Attributes:
        left_out: How many lines were no records.

    Args:
        folder: Output folder of a scan, on this machine or on a cluster.
        skip_bad: Whether lines that are no records are left out, and kept beside the journal.

    Raises:
        UsageError: The folder has no journal; or a line of it is no record, and ``skip_bad`` was not asked for.
        OutputError: What was left out cannot be kept.
    """

    def __init__(self, folder: Path, *, skip_bad: bool = False) -> None:
        self._folder = folder
        self._skip_bad = skip_bad
        bad: list[BadLine] = []
        keys = array("Q")  # eight bytes for a path, however long it is and however many there are
        for record in self._records(bad):
            path = str(record.path).encode("utf-8", "surrogatepass")
            keys.append(int.from_bytes(blake2b(path, digest_size=8).digest()))
        self.left_out = len(bad)
        if bad:
            try:
                keep_bad_lines(folder, bad)
            except OSError as error:
                raise unwritable(folder, error) from error
        self._count = len(keys)
        self._last = np.zeros(self._count, bool)
        _, from_end = np.unique(np.array(keys, np.uint64)[::-1], return_index=True)
        self._last[self._count - 1 - from_end] = True

    def rows(self) -> Iterator[Row]:
        """Read the rows one by one, in the order of the journal."""
        for record, last in zip(islice(self._records([]), self._count), self._last, strict=True):
            if last:
                yield flatten(record)

    def _records(self, bad: list[BadLine]) -> Iterator[Record]:
        journal, slices = self._folder / JOURNAL, self._folder / SLICES
        take = bad.append if self._skip_bad else None
        try:
            if slices.is_dir() and not journal.exists():
                yield from read_slices(slices, bad=take)
            else:
                yield from (entry.record for entry in read_journal(journal, bad=take))
        except OSError as error:
            problem = f"cannot be read ({error.strerror}); expected the output folder of cxr-edge scan"
            raise UsageError(problem, path=journal) from error


BINS = 20
_OWN = {"path", "status", "error_kind", "error_message", "sha256", "time"}  # what failures have as well
_DISTINCT = 100  # so many kinds of warnings are told apart
_VARYING = re.compile(r"(\([^()]*\)|'[^']*'|\d+(?:\.\d+)?)")  # parentheses, quotations, numbers


class Kinds:
    """Counts sentences that differ only in their numbers, quotations and parentheses as one kind."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._values: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._counts)

    def add(self, sentence: str) -> None:
        """Count a sentence."""
        parts = _VARYING.split(sentence)
        kind, values = tuple(parts[::2]), parts[1::2]
        if kind not in self._values:
            if len(self._values) == _DISTINCT:
                return
            self._values[kind] = [(value, value) for value in values]
        self._counts[kind] += 1
        self._values[kind] = [_widened(*each) for each in zip(self._values[kind], values, strict=True)]

    def most_common(self, count: int) -> list[tuple[str, int]]:
        """Give the most frequent kinds with their counts; a number that varies is given as its range."""
        return [(self._said(kind), times) for kind, times in self._counts.most_common(count)]

    def _said(self, kind: tuple[str, ...]) -> str:
        between = [low if low == high else f"{low} to {high}" for low, high in self._values[kind]]
        return "".join(text + value for text, value in zip(kind, [*between, ""], strict=True))


def _widened(known: tuple[str, str], value: str) -> tuple[str, str]:
    low, high = known
    if value[0] in "('":
        other = f"{value[0]}…{value[-1]}"
        return known if value == low else (other, other)
    return min(low, value, key=float), max(high, value, key=float)


class Summary:
    """A sink that counts.

    Attributes:
        labels: Answers by label.
        positive: The label from the threshold on, None if no answer has it.
        errors: Failures by kind.
        warnings: Answers by kind of warning.
        warned: Answers with at least one warning.
        refusals: Inputs without a label by whose they are: ``no chest radiograph`` or ``outside``.
        common: Column → the value that every answer and refusal has, for columns that failures do not have.
    """

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.positive: str | None = None
        self.errors: Counter[str] = Counter()
        self.warnings = Kinds()
        self.warned = 0
        self.refusals: Counter[str] = Counter()
        self.common: dict[str, Any] = {}
        self._probabilities = array("d")
        self._logodds = array("d")
        self._scope_scores = array("d")

    @property
    def refused(self) -> int:
        """How many inputs were refused."""
        return self.refusals.total()

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
        if row["scope_score"] is not None and row["scope"] != "no chest radiograph":
            self._scope_scores.append(row["scope_score"])
        if row["status"] == "refused":
            self.refusals[row["scope"] or "no chest radiograph"] += 1
            return
        self.labels[row["label"]] += 1
        if row["label"] != UNSURE and row["probability"] >= row["threshold"]:
            self.positive = row["label"]
        self.warned += bool(row["warnings"])
        for warning in row["warnings"]:
            self.warnings.add(warning)
        self._probabilities.append(row["probability"])
        self._logodds.append(row["logodds"])

    def drift(self, point: PointRecord | None) -> list[str]:
        """Say in what the radiographs differ from those that the bundle was measured on; see `expectation.drift`."""
        return drift(point, self._logodds, self._scope_scores) if point else []

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
