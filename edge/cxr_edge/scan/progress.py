"""What a person sees of a scan while it runs, on the error stream."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cxr_edge.errors import InputError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.scan.tally import Tally

_EVERY = 30.0  # seconds between two lines where there is no terminal


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


class Display:
    """A bar on a terminal, elsewhere a line every half minute.

    Args:
        positive: The label that is counted by name.
        expected: How many inputs there are; None where that has no end.
    """

    def __init__(self, positive: str, expected: Expected | None) -> None:
        self._positive = positive
        self._expected = expected or Expected()
        self._start = self._said = time.monotonic()
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[found]}"),
            console=Console(file=sys.stderr),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=None, rate="", found="")
        self._terminal = self._bar.console.is_terminal

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
        total = self._expected.total
        rate = f"{(tally.total - tally.known) / max(now - self._start, 1e-3):.1f}/s"
        found = (
            f"{tally.labels[self._positive]} {self._positive}, {tally.refused} refused, {tally.errors.total()} errors"
        )
        if self._terminal:
            self._bar.update(self._task, completed=tally.total, total=total, rate=rate, found=found)
        elif now - self._said >= _EVERY:
            self._said = now
            left = "" if total is None else f" of {total}, {_left(tally.total, total, now - self._start)} left"
            sys.stderr.write(f"{tally.total}{left}, {rate}, {found}\n")


def _left(done: int, total: int, seconds: float) -> str:
    left = round((total - done) * seconds / done)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
