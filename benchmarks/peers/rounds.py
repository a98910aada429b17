"""Competitors that take turns, and what their times are to each other."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each competitor, one a round.

    Attributes:
        seconds: By name; round by round.
    """

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, base: str) -> tuple[float, float, float]:
        """How many times longer than ``base``: median, smallest and largest over the rounds."""
        each = [one / other for one, other in zip(self.seconds[name], self.seconds[base], strict=True)]
        return statistics.median(each), min(each), max(each)


def measure(competitors: Mapping[str, Callable[[], object]], *, rounds: int, repeats: int, warm: bool = True) -> Times:
    """Run every competitor once to warm up, if asked to, then ``rounds`` times in turn, ``repeats`` calls each time."""
    if warm:
        for run in competitors.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            seconds[name].append((time.perf_counter() - start) / repeats)
    return Times(seconds)
