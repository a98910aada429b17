"""The engine for one machine."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import cv2

from cxr_edge.api import Model
from cxr_edge.errors import InputError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.scan.folder import hold, open_journal
from cxr_edge.scan.parameters import Parameters
from cxr_edge.scan.pipeline import Pipeline
from cxr_edge.scan.progress import Display, counting
from cxr_edge.scan.signals import stopped_by_signals
from cxr_edge.scan.tally import Tally
from cxr_edge.scan.worker import Worker
from cxr_edge.text import printable


def scan(
    model: Model,
    discovery: Discovery,
    parameters: Parameters,
    *,
    out: Path,
    workers: int,
    watch: bool = False,
    poll: float | None = None,
) -> tuple[Tally, bool]:
    """Answer everything that is found and not yet recorded.

    Args:
        model: What answers; on a CPU opened with one thread, because every worker has a core of its own.
        discovery: What to look for.
        parameters: What is asked.
        out: The output folder, new or from an earlier scan of the same parameters.
        workers: Batches in work at once.
        watch: Whether to go on with files as they arrive, until Ctrl-C or SIGTERM.
        poll: See `cxr_edge.scan.watching.watch_for`.

    Returns:
        The counts, and whether somebody asked it to stop.

    Raises:
        UsageError: The output folder is in use or holds records of other parameters.
        OutputError: Results cannot be written.
        BundleError: The network answers NaN.
    """
    cv2.setNumThreads(1)  # every worker keeps one core busy; more threads would only get in each other's way
    with hold(out, parameters) as stale, open_journal(out) as journal, stopped_by_signals() as stop:
        if stale:
            sys.stderr.write(printable(f"An earlier scan ended abruptly ({stale}); going on after it.") + "\n")
        worker = Worker(model, parameters, journal.index, out)
        counted = nullcontext() if watch else counting(discovery, stop)
        with counted as expected, Display(model.bundle.manifest.positive, expected) as display:
            pipeline = Pipeline(
                worker, journal, workers=workers, batch_size=parameters.batch_size, stop=stop, report=display.show
            )
            tally = pipeline.run(_arriving(discovery, stop, poll) if watch else discovery.find())
        return tally, stop.is_set()


def _arriving(discovery: Discovery, stop: Event, poll: float | None) -> Iterator[Path | InputError | None]:
    from cxr_edge.scan.watching import watch_for  # needs the watch extra

    return watch_for(discovery, stop, poll=poll)
