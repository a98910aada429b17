import json
import math

import msgspec
import pytest

from cxr_edge.bench.measure import Figures, Rule, measure
from cxr_edge.errors import UsageError


class Clock:
    """Moved by the work alone."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Work:
    """Runs that take the seconds they are told to; the last duration goes on for ever."""

    def __init__(self, clock, durations):
        self.clock = clock
        self.durations = list(durations)
        self.count = 0

    def __call__(self):
        self.clock.now += self.durations[min(self.count, len(self.durations) - 1)]
        self.count += 1


RULE = Rule(window=1.0, window_runs=5, within=0.1, max_windows=10, warm_up=0.5)


def timed(durations, *, rule=RULE, radiographs=1):
    clock = Clock()
    work = Work(clock, durations)
    return measure([work], rule=rule, radiographs=radiographs, clock=clock), work


def test_steady_work_takes_three_windows_after_its_warm_up():
    figures, work = timed([0.125])
    assert (figures.windows, figures.settled, figures.runs) == (3, True, 24)
    assert work.count == 24 + 4  # 0.5 s of warm-up
    assert (
        figures.latency_ms.p50
        == figures.latency_ms.p90
        == figures.latency_ms.p95
        == figures.latency_ms.p99
        == figures.latency_ms.mean
        == 125.0
    )
    assert figures.throughput_per_s == 8.0
    assert figures.spread == 0.0


def test_a_slow_start_is_warmed_away():
    figures, _ = timed([5.0, 0.125])
    assert (figures.latency_ms.mean, figures.windows) == (125.0, 3)


def test_a_window_holds_enough_runs_however_long_they_take():
    figures, work = timed([2.0])
    assert figures.runs == 15
    assert work.count == 15 + 1  # one run warms up


def test_windows_that_differ_are_followed_by_others_and_left_out():
    # Warm-up, then windows at 0.5, 0.25 and 0.125 s a run, which settle at 0.125.
    figures, _ = timed([0.5] + [0.5] * 5 + [0.25] * 5 + [0.125])
    assert (figures.windows, figures.settled) == (5, True)
    assert (figures.latency_ms.mean, figures.runs) == (125.0, 24)


def test_what_never_settles_is_given_up_and_said():
    growing = [0.1 * 1.2**window for window in range(40) for _ in range(5)]
    figures, _ = timed(growing, rule=Rule(window=0.01, window_runs=5, within=0.1, max_windows=7, warm_up=0))
    assert (figures.windows, figures.settled, figures.runs) == (7, False, 15)
    assert figures.spread > 0.2


def test_latency_alone_can_keep_it_from_settling():
    # Each window takes 1 s for 5 runs; the median of every other one is half of what it is in the rest.
    even, odd = [0.2] * 5, [0.1, 0.1, 0.1, 0.35, 0.35]
    figures, _ = timed([1.0, *(even + odd) * 20])
    assert not figures.settled
    assert figures.spread == pytest.approx(1.0)


def test_throughput_alone_can_keep_it_from_settling():
    # The median stays at 0.2 s, but every other window has one run of 1.2 s.
    even, odd = [0.2] * 5, [0.2, 0.2, 0.2, 0.2, 1.2]
    figures, _ = timed([1.0, *(even + odd) * 20])
    assert not figures.settled
    assert figures.spread == pytest.approx(1.0)


@pytest.mark.parametrize(("within", "settled"), [(0.1, False), (0.26, True)])
def test_within_says_how_closely_windows_have_to_agree(within, settled):
    figures, _ = timed([1.0, *([0.2] * 5 + [0.25] * 5) * 20], rule=Rule(window=1.0, within=within))
    assert figures.settled is settled


def test_percentiles_are_latencies_that_occurred():
    # 300 runs, three windows of 100: 0.01 … 1.00 s in each.
    rule = Rule(window=50.5, window_runs=100, within=0.1, warm_up=0)
    figures, _ = timed([0.5] + [number / 100 for number in range(1, 101)] * 3, rule=rule)
    assert figures.runs == 300
    given = [figures.latency_ms.p50, figures.latency_ms.p90, figures.latency_ms.p95, figures.latency_ms.p99]
    assert given == pytest.approx([500, 900, 950, 990])


def test_the_99th_percentile_of_few_runs_is_the_slowest():
    figures, _ = timed([1.0, *[0.2, 0.2, 0.2, 0.2, 0.21] * 3])
    assert (figures.runs, figures.latency_ms.p99, figures.latency_ms.p50) == (
        15,
        pytest.approx(210),
        pytest.approx(200),
    )


def test_throughput_counts_radiographs_not_runs():
    assert timed([0.125], radiographs=8)[0].throughput_per_s == 64.0


def test_every_window_holds_whole_rounds_of_all_runs():
    clock = Clock()
    quick, slow = Work(clock, [0.1]), Work(clock, [0.9])
    figures = measure([quick, slow], rule=Rule(window=2.5, window_runs=1, warm_up=0.0), clock=clock)
    assert quick.count == slow.count == 1 + 9
    assert (figures.runs, figures.settled, figures.latency_ms.mean) == (18, True, pytest.approx(500))


def test_what_goes_wrong_in_a_run_is_not_swallowed():
    def fail():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        measure([fail], rule=RULE)


@pytest.mark.parametrize(
    "values", [{"window": 0}, {"window": math.inf}, {"within": 0}, {"within": math.nan}, {"max_windows": 2}]
)
def test_a_rule_that_makes_no_sense_is_refused(values):
    with pytest.raises(UsageError, match="expected"):
        Rule(**values)


def test_figures_survive_json():
    figures, _ = timed([0.12, 0.34, 0.2, 0.19, 0.3])
    assert msgspec.convert(json.loads(json.dumps(figures.to_json(), allow_nan=False)), Figures) == figures
