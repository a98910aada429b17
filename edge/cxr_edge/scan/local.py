"""The engine for one machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from types import FrameType

import cv2

from cxr_edge.api import Model
from cxr_edge.errors import InputError, UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.expectation import PointRecord
from cxr_edge.results.index import Parameters
from cxr_edge.results.output import PRIVATE
from cxr_edge.runtime.machine import check_batch_size, usable_cores
from cxr_edge.scan.annotated import AnnotatedTree, AnswerSink
from cxr_edge.scan.folder import locked_folder, open_journal
from cxr_edge.scan.pipeline import Pipeline, Worker
from cxr_edge.scan.progress import ProgressDisplay, Tally, counting
from cxr_edge.text import printable, say

REFRESH = 60.0  # seconds after which the reports of a watched folder are written again, if there is anything new


def scan_locally(
    model: Model,
    discovery: Discovery,
    parameters: Parameters,
    *,
    out: Path,
    workers: int,
    pictures: bool = False,
    annotated: bool = False,
    sinks: Sequence[AnswerSink] = (),
    mode: int = PRIVATE,
    skip_bad: bool = False,
    watch: bool = False,
    poll: float | None = None,
    refresh: Callable[[], object] | None = None,
) -> tuple[Tally, bool]:
    """Answer everything that is found and not yet recorded.

    Args:
        model: What answers; on a CPU opened with one thread, because every worker has a core of its own.
        discovery: What to look for.
        parameters: What is asked.
        out: The output folder, new or from an earlier scan of the same parameters.
        workers: Batches in work at once.
        pictures: Whether thumbnails, heat maps and figures are written for the report; what was answered without them
            gets thumbnails and heat maps now.
        annotated: Whether a figure of each positive answer is drawn into the folder `ANNOTATED`.
        sinks: What else is made of the answers.
        mode: Permissions of the output folder, if it is made.
        skip_bad: Whether lines of the journal that are no records are moved out of it.
        watch: Whether to go on with files as they arrive, until Ctrl-C or SIGTERM.
        poll: See `cxr_edge.scan.watching.watch_for`.
        refresh: With ``watch``: writes the reports; called every minute in which there was something new.

    Returns:
        The counts, and whether somebody asked it to stop.

    Raises:
        UsageError: The output folder is in use or holds records of other parameters; or more is asked at once than
            this machine can do.
        OutputError: Results cannot be written.
        BundleError: The network answers NaN.
    """
    check_load(workers, parameters.batch_size)
    point = PointRecord.of(model.bundle.manifest, parameters.operating_point)
    with (
        _one_thread_each(),
        locked_folder(out, parameters, mode=mode, pictures=pictures, point=point) as stale,
        open_journal(out, skip_bad=skip_bad) as journal,
        _stopped_by_signals() as stop,
    ):
        if stale:
            say(printable(f"An earlier scan ended abruptly ({stale}); going on after it."))
        if journal.left_out:
            say(f"{journal.left_out} lines of the journal were no records; they are kept beside it.", "warning")
        method = parameters.explain if parameters.explain != "none" else "gradcam"
        if annotated:
            sinks = (*sinks, AnnotatedTree(out, discovery.inputs, model, method=method))
        worker = Worker(model, parameters, journal, out, pictures=pictures, sinks=sinks)
        counted = nullcontext() if watch else counting(discovery, stop)
        with counted as expected, ProgressDisplay(model.bundle.manifest.positive, expected) as display:
            reports = _Refresher(refresh if watch else None)

            def show(tally: Tally) -> None:
                display.show(tally)
                reports.show(tally)

            pipeline = Pipeline(
                worker, journal, workers=workers, batch_size=parameters.batch_size, stop=stop, report=show
            )
            search = discovery.find()  # nothing is searched before the first file is asked for
            tally = pipeline.run(_arriving(discovery, stop, poll) if watch else search)
            tally.skipped = search.skipped
        return tally, stop.is_set()


def check_load(workers: int, batch_size: int) -> None:
    """Check that a scan does not ask for more at once than this machine can do.

    Raises:
        UsageError: More workers than cores can serve, or more radiographs than the memory holds.
    """
    most = max(8, 4 * usable_cores())  # more than cores, because files on a network are waited for
    if not 1 <= workers <= most:
        message = f"{workers} workers; expected 1 to {most}: this process may use {usable_cores()} cores"
        raise UsageError(message)
    check_batch_size(batch_size, workers=workers)


class _Refresher:
    """Writes the reports again when there is something new and the last time is a minute ago."""

    def __init__(self, refresh: Callable[[], object] | None) -> None:
        self._refresh = refresh
        self._written = time.monotonic()
        self._told = 0

    def show(self, tally: Tally) -> None:
        """Take new counts."""
        new = tally.recorded != self._told
        if self._refresh is not None and new and time.monotonic() - self._written >= REFRESH:
            self._told = tally.recorded
            self._refresh()
            self._written = time.monotonic()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let OpenCV work in the threads that call it: every worker keeps one core busy, more would be in the way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets while the block runs; a second one has its usual effect."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def _arriving(discovery: Discovery, stop: Event, poll: float | None) -> Iterator[Path | InputError | None]:
    from cxr_edge.scan.watching import watch_for  # needs the watch extra

    return watch_for(discovery, stop, poll=poll)
