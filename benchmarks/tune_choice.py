"""Is what `cxr-edge tune` chooses in under a minute what is quickest here? Its choice against an exhaustive run.

    python benchmarks/tune_choice.py [--rounds 7] [--quick]

For each use, every provider and precision that passes the self-test, every number of threads and batches of 1 to 32
take turns, and the median of their rates counts. The bar: the choice reaches 0.95 of the best, in 60 s.
"""

import statistics
import sys
from dataclasses import replace

from common import Options, table
from cxr_edge.bench.tune import Candidate, measure_rate, tune
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.machine import usable_cores
from cxr_edge.runtime.networks import open_classifier
from cxr_edge.runtime.reference import read_reference

BATCHES = (1, 2, 4, 8, 16, 32)
NEAR, LONGEST = 0.95, 60.0


def every_setting(candidate: Candidate) -> list[Candidate]:
    """A candidate with other threads and batches, as far as its use leaves them open."""
    threads = [1] if candidate.use == "scan" else range(1, usable_cores() + 1)
    batches = [1] if candidate.use == "single" else BATCHES
    return [replace(candidate, threads=each, batch_size=size) for each in threads for size in batches]


def main() -> None:
    """Measure and print."""
    options = Options(__doc__).with_bundle()
    options.number("--rounds", 7, quick=1)
    options.number("--milliseconds", 400, quick=20, help="of each turn of each candidate")
    arguments = options.read()
    bundle = Bundle.open(arguments.bundle)
    inputs = read_reference(bundle)[0].inputs
    quick = {"seconds": 1.0} if arguments.quick else {}
    report = tune(bundle, say=lambda text: print(text, file=sys.stderr), **quick)
    every = dict.fromkeys(each for found in report.measured for each in every_setting(found))
    keys = dict.fromkeys((each.provider, each.precision, each.threads) for each in every)
    sessions = {key: open_classifier(bundle, key[1], provider=key[0], threads=key[2]) for key in keys}
    rates: dict[Candidate, list[float]] = {each: [] for each in every}
    for _ in range(arguments.rounds):
        for each, found in rates.items():
            session = sessions[each.provider, each.precision, each.threads]
            found.append(measure_rate(session, each, inputs, arguments.milliseconds / 1000))
    median = {each: statistics.median(found) for each, found in rates.items()}
    rows = []
    for use, engine in report.tuning.engines.items():
        if use == "once":  # benchmarks/process_start.py measures that
            continue
        best = max((each for each in median if each.use == use), key=lambda each: median[each])
        chosen = Candidate(use, engine.provider, engine.precision, engine.threads, engine.batch_size)  # type: ignore[arg-type]
        share = median[chosen] / median[best]
        rows.append([use, told(chosen), told(best), f"{share:.2f}", "yes" if share >= NEAR else "**no**"])
    table(["use", "chosen", "best of all", "rate of the choice / best", f"at least {NEAR}"], rows)
    discarded = len(report.discarded)
    print(f"tune took {report.seconds:.0f} s (at most {LONGEST:g}); {len(every)} settings, {discarded} discarded")


def told(candidate: Candidate) -> str:
    """A setting in words."""
    settings = f"{candidate.threads} threads, batch {candidate.batch_size}"
    return f"{candidate.precision} on {candidate.provider}, {settings}"


if __name__ == "__main__":
    main()
