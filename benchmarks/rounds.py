"""Competitors that take turns, so that a busy machine slows all of them alike, and ratios within each round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seconds:
    """How long each competitor took, round for round.

    Attributes:
        by_name: Seconds of every round, by competitor.
    """

    by_name: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The median over the rounds."""
        return statistics.median(self.by_name[name])


@dataclass(frozen=True)
class Ratio:
    """One competitor's time over another's.

    Attributes:
        median: Median over the rounds of the ratio within a round.
        low: Its 10 % quantile; the smallest with fewer than ten rounds.
        high: Its 90 % quantile; the largest with fewer than ten rounds.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Seconds, one: str, other: str) -> "Ratio":
        """Divide round by round."""
        each = sorted(a / b for a, b in zip(seconds.by_name[one], seconds.by_name[other], strict=True))
        cut = len(each) // 10
        return cls(statistics.median(each), each[cut], each[-1 - cut])

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def take_turns(
    competitors: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1, lead: int = 1, pause: float = 0.03
) -> Seconds:
    """Run every competitor once a round.

    Args:
        competitors: What to run, by name.
        rounds: How often.
        warm: Rounds before those that count.
        lead: Runs before the one that counts, in every turn: so each finds its threads awake and the caches its own.
        pause: Seconds before each turn, in which the threads of the one before stop waiting busily: else they take
            the cores from whoever comes next.
    """
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for count in range(warm + rounds):
        for name, run in competitors.items():
            time.sleep(pause)
            for _ in range(lead):
                run()
            start = time.perf_counter()
            run()
            if count >= warm:
                seconds[name].append(time.perf_counter() - start)
    return Seconds(seconds)
