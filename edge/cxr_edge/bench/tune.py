"""Which provider, precision, number of threads and batch size are quickest here, among those that answer rightly?"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import CxrEdgeError
from cxr_edge.runtime.machine import usable_cores
from cxr_edge.runtime.networks import open_classifier
from cxr_edge.runtime.providers import Provider, Started
from cxr_edge.runtime.reference import read_reference
from cxr_edge.runtime.self_test import self_test
from cxr_edge.runtime.sessions import Session
from cxr_edge.runtime.tuning import TunedEngine, Tuning, Use, describe_setting, stated_bounds

SECONDS = 32.0
"""For all measurements together; what is opened and tested before them comes on top."""
BETTER = 1.03
"""Something else than the first candidate is chosen only if it is quicker by this: less is noise."""
_STARTS = 3  # the first one fills the cache
_START = """
import sys, time, numpy
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.networks import open_classifier
bundle = Bundle.open(sys.argv[1])
begun = time.perf_counter()
session = open_classifier(bundle, sys.argv[3], provider=sys.argv[2], threads=int(sys.argv[4]))
session.run({"pixels": numpy.zeros((1, *bundle.manifest.input_shape[1:]), "float32")}, ["logodds"])
print(time.perf_counter() - begun)
"""
_ROUNDS = 3  # every candidate is measured so often, in turns, and its best turn counts: others may use the machine
_SCAN_BATCHES = (1, 4, 8)
_LIME_BATCH = 16
Images = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """What may be chosen for a use.

    Attributes:
        use: What for.
        provider: What computes.
        precision: In which precision.
        threads: Threads of one run.
        batch_size: Radiographs that run together.
    """

    use: Use
    provider: Started
    precision: str
    threads: int
    batch_size: int


@dataclass(frozen=True)
class TuneReport:
    """What was measured and chosen.

    Attributes:
        tuning: What was chosen.
        measured: Every candidate with its radiographs in a second.
        discarded: Why a provider or a precision was no candidate, by its name.
        seconds: How long it all took.
    """

    tuning: Tuning
    measured: dict[Candidate, float]
    discarded: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Give all of it."""
        return {
            "schema": 1,
            "created": self.tuning.created,
            "about": self.tuning.about,
            "chosen": {use: each.to_json() for use, each in self.tuning.engines.items()},
            "measured": [{**vars(each), "per_second": rate} for each, rate in self.measured.items()],
            "discarded": self.discarded,
            "seconds": self.seconds,
        }


def tune(bundle: Bundle, *, seconds: float = SECONDS, say: Say = lambda _: None) -> TuneReport:
    """Measure what is installed here and choose the quickest of what passes the self-test within the stated bounds.

    The images are those of the bundle's self-test.

    Args:
        bundle: An opened bundle.
        seconds: For all measurements together.
        say: Called with what is done next.

    Raises:
        BundleError: The bundle carries no inputs for a self-test.
        ProviderError: Not even the CPU answers.
    """
    start = time.monotonic()
    inputs = read_reference(bundle)[0].inputs
    discarded: dict[str, str] = {}
    starts = {}
    for pair in _trusted(bundle, discarded, say):
        say(f"start with {pair[1]} on {pair[0]}")
        try:
            starts[pair] = measure_start(bundle, *pair)
        except subprocess.CalledProcessError as error:
            discarded[f"{pair[1]} on {pair[0]}"] = f"it does not start in a new process ({error})"
    candidates = [each for pair in starts for each in _candidates(*pair)]
    sessions: dict[tuple[str, str, int], Session] = {}
    for each in candidates:
        key = (each.provider, each.precision, each.threads)
        if key not in sessions:
            sessions[key] = open_classifier(bundle, each.precision, provider=each.provider, threads=each.threads)
    slot = seconds / (len(candidates) * _ROUNDS)
    measured = dict.fromkeys(candidates, 0.0)
    for turn in range(_ROUNDS):
        for each in candidates:
            say(f"round {turn + 1} of {_ROUNDS}: {each.use}, {each.precision} on {each.provider}")
            rate = measure_rate(sessions[each.provider, each.precision, each.threads], each, inputs, slot)
            measured[each] = max(measured[each], rate)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    engines = {use: _engines(measured, starts, use) for use in get_args(Use) if use != "once"}
    chosen = {use: _best(found, lambda each: each.per_second) for use, found in engines.items()}
    once = _best(engines["single"], lambda each: 1 / each.seconds_for(1))
    tuning = Tuning(describe_setting(bundle), created, {"once": once, **chosen})
    return TuneReport(tuning, measured, discarded, round(time.monotonic() - start, 1))


def _trusted(bundle: Bundle, discarded: dict[str, str], say: Say) -> Iterator[tuple[Started, str]]:
    """Give the pairs of provider and precision that answer rightly here; fp32 on the CPU is the first."""
    words: list[Provider] = list(get_args(Started))
    for word in words:
        say(f"self-test on {word}")
        try:
            report = self_test(bundle, provider=word)
        except CxrEdgeError as error:
            if word == "cpu":
                raise
            discarded[word] = error.problem
            continue
        for precision in bundle.manifest.precisions:
            name = f"{precision} on {word}"
            loss, bounds = report.precisions.get(precision), stated_bounds(bundle.manifest, precision)
            if precision == "fp32" and report.fp32_faults:
                discarded[name] = "; ".join(report.fp32_faults)
            elif precision != "fp32" and (loss is None or bounds is None):
                discarded[name] = report.untried.get(precision, "the bundle does not state how far it is from fp32")
            elif loss is not None and not loss.holds:
                discarded[name] = f"log-odds differ by {loss.logodds_difference:.2g}, allowed {loss.bound:.2g}"
            elif bounds is not None and not bounds.cover(bundle.manifest):
                discarded[name] = "the bundle does not state how far it moves the gate's scores"
            else:
                yield word, precision  # type: ignore[misc]  # one of Started


def _candidates(provider: Started, precision: str) -> Iterator[Candidate]:
    cores = usable_cores()
    for threads in sorted({cores, max(1, cores // 2)}, reverse=True):
        yield Candidate("single", provider, precision, threads, 1)
    for size in _SCAN_BATCHES:
        yield Candidate("scan", provider, precision, 1, size)
    yield Candidate("lime", provider, precision, cores, _LIME_BATCH)


def measure_rate(session: Session, candidate: Candidate, inputs: Images, seconds: float) -> float:
    """Give the radiographs in a second, over so many ``seconds``; a scan's workers run side by side."""
    size = candidate.batch_size
    rows = np.arange(size) % len(inputs)
    outputs = ["logodds"] if candidate.use == "lime" else ["logodds", "probability", "features"]
    batch = {"pixels": inputs[rows]}
    session.run(batch, outputs)

    def work(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            session.run(batch, outputs)
            count += size
        return count

    workers = usable_cores() if candidate.use == "scan" else 1
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        counts = list(pool.map(work, [start + seconds] * workers))
    return sum(counts) / (time.perf_counter() - start)


def measure_start(bundle: Bundle, provider: Started, precision: str) -> float:
    """Give the seconds from an opened bundle to the first answer in a new process, with everything cached.

    Raises:
        CalledProcessError: It ends with an error.
    """
    command = [sys.executable, "-c", _START, str(bundle.folder), provider, precision, str(usable_cores())]
    seconds = []
    for _ in range(_STARTS):
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # itself
        seconds.append(float(done.stdout))
    return min(seconds)


def _engines(measured: dict[Candidate, float], starts: dict[tuple[Started, str], float], use: Use) -> list[TunedEngine]:
    return [
        TunedEngine(
            each.provider,
            each.precision,
            each.threads,
            each.batch_size,
            round(rate, 2),
            round(starts[each.provider, each.precision], 4),
        )
        for each, rate in measured.items()
        if each.use == use
    ]


def _best(engines: list[TunedEngine], worth: Callable[[TunedEngine], float]) -> TunedEngine:
    best = max(engines, key=worth)
    return best if worth(best) > BETTER * worth(engines[0]) else engines[0]
