"""The counts of a scan, and what a person sees of them while it runs, on the error stream."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cxr_edge.errors import InputError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.index import State
from cxr_edge.text import is_said, open_console, say

_EVERY = 30.0  # seconds between two lines where there is no terminal


@dataclass
class Tally:
    """How many inputs have which outcome; it changes while a scan runs.

    Attributes:
        labels: Answers by label.
        errors: Failures by kind.
        refused: Inputs that look like no chest radiograph.
        known: How many of all these were in the journal before.
        recorded: How many records were written.
        skipped: Files and folders that were left out by the search, by reason.
    """

    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    known: int = 0
    recorded: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All inputs so far."""
        return self.labels.total() + self.refused + self.errors.total()

    def count(self, state: State, *, before: State | None, known: bool) -> None:
        """Count one input.

        Args:
            state: What became of it.
            before: What it was counted as before in the same run: a watched file may change, or be given twice.
            known: Whether the journal said so before this run.
        """
        self.recorded += not known
        self._add(state, 1)
        if before is None:
            self.known += known
        else:
            self._add(before, -1)
            self.labels, self.errors = +self.labels, +self.errors  # without those of which none is left

    def _add(self, state: State, number: int) -> None:
        if state.kind is not None:
            self.errors[state.kind] += number
        elif state.label is not None:
            self.labels[state.label] += number
        else:
            self.refused += number

    def __str__(self) -> str:
        labels = ", ".join(f"{number} {label}" for label, number in sorted(self.labels.items()))
        errors = ", ".join(f"{kind} {number}" for kind, number in self.errors.most_common())
        refused = [f"{self.refused} refused"] if self.refused else []
        parts = [labels or "no answers", *refused, f"{self.errors.total()} errors" + (f" ({errors})" if errors else "")]
        reasons = ", ".join(f"{reason} {number}" for reason, number in self.skipped.most_common() if number)
        skipped = f"; {self.skipped.total()} files and folders were left out ({reasons})" if reasons else ""
        return f"{self.total} inputs: {', '.join(parts)}; {self.known} were answered before{skipped}"


@dataclass
class Expected:
    """How many inputs there are, as soon as somebody has counted them.

    Attributes:
        total: The number, None until it is known.
    """

    total: int | None = None


@contextmanager
def counting(discovery: Discovery, stop: Event) -> Iterator[Expected]:
    """Count the inputs while the block runs; the scan itself does not wait for that."""
    expected, done = Expected(), Event()

    def count() -> None:
        number = 0
        for found in discovery.find():
            if done.is_set() or stop.is_set():
                return
            number += not isinstance(found, InputError)
        expected.total = number

    thread = Thread(target=count, daemon=True)
    thread.start()
    try:
        yield expected
    finally:
        done.set()
        thread.join()


class ProgressDisplay:
    """A bar on a terminal, elsewhere a line every half minute in which there was something new.

    Args:
        positive: The label that is counted by name.
        expected: How many inputs there are; None where that has no end.
    """

    def __init__(self, positive: str, expected: Expected | None) -> None:
        self._positive = positive
        self._expected = expected or Expected()
        self._start = self._said = time.monotonic()
        self._told = Tally()
        columns = (TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "left", "found"))
        self._bar = Progress(
            MofNCompleteColumn(), BarColumn(), *columns, console=open_console(stderr=True), refresh_per_second=4
        )
        self._task = self._bar.add_task("", total=None, rate="", left="", found="")
        self._terminal = self._bar.console.is_terminal and is_said("info")

    def __enter__(self) -> Self:
        if self._terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._bar.stop()

    def show(self, tally: Tally) -> None:
        """Take new counts."""
        now = time.monotonic()
        total, seconds = self._expected.total, now - self._start
        rate = f"{(tally.total - tally.known) / max(seconds, 1e-3):.1f}/s"
        left = time_left(tally, total, seconds)
        found = (
            f"{tally.labels[self._positive]} {self._positive}, {tally.refused} refused, {tally.errors.total()} errors"
        )
        if self._terminal:
            self._bar.update(self._task, completed=tally.total, total=total, rate=rate, left=left, found=found)
        elif now - self._said >= _EVERY and tally != self._told:
            self._said, self._told = now, deepcopy(tally)
            of = "" if total is None else f" of {total}" + (f", {left} left" if left else "")
            say(f"{tally.total}{of}, {rate}, {found}")


def time_left(tally: Tally, total: int | None, seconds: float) -> str:
    """Say how long the rest takes at the pace of what was answered in this run; what was known took no time.

    Args:
        tally: The counts.
        total: All inputs, None if nobody knows.
        seconds: Since the run began.
    """
    answered = tally.total - tally.known
    if total is None or not answered:
        return ""
    left = round(max(total - tally.total, 0) * seconds / answered)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
