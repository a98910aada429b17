"""Repeat a piece of work until its latency and throughput have settled.

The rule is that of Triton's perf_analyzer (its options ``--stability-percentage`` and ``--max-trials``, their defaults
too): runs are gathered in windows; when the largest and the smallest of the latest three windows differ by no more than
10 %, in latency and in throughput, their runs together are the result. perf_analyzer compares mean latencies, which for
one caller waiting for each answer say the same as the throughput; here the medians are compared. Where it has no
result after ten windows, we give the latest three and say that they did not settle.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from cxr_edge.bench.cases import AtLeastOne
from cxr_edge.errors import UsageError

Clock = Callable[[], float]
Run = Callable[[], object]
Positive = Annotated[float, Meta(gt=0)]
WINDOWS = 3
"""Windows that have to agree."""


@dataclass(frozen=True)
class Rule:
    """When a window is over, and when there have been enough of them.

    Attributes:
        window: Least seconds of a window.
        window_runs: Least runs of a window.
        within: Share by which the windows may differ, above 0: 0.1 allows the largest 1.1 times the smallest.
        max_windows: Windows after which it stops anyway, at least 3.
        warm_up: Seconds of runs before the first window that are not counted; at least every input once.

    Raises:
        UsageError: A value is out of range.
    """

    window: float = 0.5
    window_runs: int = 5
    within: float = 0.1
    max_windows: int = 10
    warm_up: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.window < math.inf:
            raise UsageError(f"a window of {self.window:g} seconds; expected more than 0")
        if not 0 < self.within < math.inf:
            raise UsageError(f"windows within {100 * self.within:g} % of each other; expected more than 0")
        if self.max_windows < WINDOWS:
            raise UsageError(f"at most {self.max_windows} windows; expected at least {WINDOWS}, which have to agree")

    def to_json(self) -> dict[str, object]:
        """Give the rule with the seconds and shares that it counts in."""
        return asdict(self)


@dataclass(frozen=True)
class Latency:
    """How long a run takes, in milliseconds.

    A percentile is the smallest latency that this share of the runs did not exceed (nearest rank): one that occurred.

    Attributes:
        p50: The median.
        p90: The 90th percentile.
        p95: The 95th percentile.
        p99: The 99th percentile; of fewer than 100 runs it is the slowest.
        mean: The mean.
    """

    p50: Positive
    p90: Positive
    p95: Positive
    p99: Positive
    mean: Positive


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        latency_ms: Of one run.
        throughput_per_s: Radiographs a second.
        runs: Number of runs that these figures summarise.
        windows: Windows that were measured, of which the last three count.
        spread: By how much the last three differ: largest / smallest - 1, of latency or throughput, whichever is more.
        settled: Whether that was within what the rule allows.
    """

    latency_ms: Latency
    throughput_per_s: Positive
    runs: AtLeastOne
    windows: AtLeastOne
    spread: Annotated[float, Meta(ge=0)]
    settled: bool

    def to_json(self) -> dict[str, object]:
        """Give the figures."""
        return asdict(self)


def measure(runs: Sequence[Run], *, rule: Rule, radiographs: int = 1, clock: Clock = time.perf_counter) -> Figures:
    """Repeat runs in turn until the figures have settled.

    Args:
        runs: The work, one run for each input (or batch of inputs); a window holds whole rounds of all of them, so
            that every window measures the same mixture.
        rule: When to stop.
        radiographs: How many radiographs a run answers.
        clock: Gives seconds, never backwards.
    """
    start = clock()
    while True:
        for run in runs:
            run()
        if clock() - start >= rule.warm_up:
            break
    latest = deque((_window(runs, rule, clock) for _ in range(WINDOWS)), maxlen=WINDOWS)
    windows = WINDOWS
    while (spread := _spread(latest)) > rule.within and windows < rule.max_windows:
        latest.append(_window(runs, rule, clock))
        windows += 1
    seconds = np.concatenate([np.asarray(window) for window in latest])
    p50, p90, p95, p99 = (1000 * np.percentile(seconds, (50, 90, 95, 99), method="inverted_cdf")).tolist()
    return Figures(
        latency_ms=Latency(p50, p90, p95, p99, mean=1000 * float(seconds.mean())),
        throughput_per_s=radiographs * len(seconds) / float(seconds.sum()),
        runs=len(seconds),
        windows=windows,
        spread=spread,
        settled=spread <= rule.within,
    )


def _window(runs: Sequence[Run], rule: Rule, clock: Clock) -> list[float]:
    """One stamp between two runs: their seconds add up to the window's, and nothing goes uncounted."""
    seconds: list[float] = []
    start = last = clock()
    while last - start < rule.window or len(seconds) < rule.window_runs:
        for run in runs:
            run()
            now = clock()
            seconds.append(now - last)
            last = now
    return seconds


def _spread(windows: Sequence[Sequence[float]]) -> float:
    medians = [float(np.median(window)) for window in windows]
    means = [float(np.mean(window)) for window in windows]  # throughput is their reciprocal: the same ratio
    return max(max(values) / min(values) - 1 for values in (medians, means))
