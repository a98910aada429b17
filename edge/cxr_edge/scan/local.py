"""The engine for one machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event
from types import FrameType
from typing import cast

import cv2

from cxr_edge.api import Model, load
from cxr_edge.errors import InputError, UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.expectation import PointRecord
from cxr_edge.results.index import Engine, Explain, ExplainIf, Index, Parameters, read_description
from cxr_edge.results.output import PRIVATE
from cxr_edge.results.schema import BundleRecord
from cxr_edge.runtime.machine import check_batch_size, usable_cores
from cxr_edge.runtime.providers import Provider
from cxr_edge.scan.annotated import AnnotatedTree, AnswerSink
from cxr_edge.scan.folder import locked_folder, open_journal
from cxr_edge.scan.pipeline import Pipeline, Worker
from cxr_edge.scan.progress import ProgressDisplay, Tally, counting
from cxr_edge.text import printable, say

REFRESH = 60.0  # seconds after which the reports of a watched folder are written again, if there is anything new
Arrivals = Callable[[Index, Event], Iterator[Path | InputError | None]]
"""Gives inputs as they arrive, and None at every pause, until the event is set; the index says what is recorded."""


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
    arrivals: Arrivals | None = None,
    refresh: Callable[[], object] | None = None,
    stop: Event | None = None,
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
        arrivals: Takes the place of the search: gives inputs until it is told to stop.
        refresh: With ``arrivals``: writes the reports; called every minute in which there was something new.
        stop: Ends the scan when set; None has Ctrl-C and SIGTERM do that.

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
        nullcontext(stop) if stop else stopped_by_signals() as ended,
    ):
        if stale:
            say(printable(f"An earlier scan ended abruptly ({stale}); going on after it."))
        if journal.left_out:
            say(f"{journal.left_out} lines of the journal were no records; they are kept beside it.", "warning")
        method = parameters.explain if parameters.explain != "none" else "gradcam"
        if annotated:
            sinks = (*sinks, AnnotatedTree(out, discovery.inputs, model, method=method))
        worker = Worker(model, parameters, journal, out, pictures=pictures, sinks=sinks)
        counted = nullcontext() if arrivals else counting(discovery, ended)
        with counted as expected, ProgressDisplay(model.bundle.manifest.positive, expected) as display:
            reports = _Refresher(refresh if arrivals else None)

            def show(tally: Tally) -> None:
                display.show(tally)
                reports.show(tally)

            pipeline = Pipeline(
                worker, journal, workers=workers, batch_size=parameters.batch_size, stop=ended, report=show
            )
            search = discovery.find()  # nothing is searched before the first file is asked for
            tally = pipeline.run(arrivals(journal.index, ended) if arrivals else search)
            tally.skipped = search.skipped
        return tally, ended.is_set()


def load_for_scan(
    out: Path,
    *,
    engine: Engine = "local",
    bundle: Path | None,
    provider: Provider,
    precision: str,
    operating_point: str | None,
    unsure: bool,
    prevalence: float | None,
    test_time_augmentation: bool,
    gate: bool,
    batch_size: int | None,
    explain: Explain,
    explain_if: ExplainIf,
    waiting: bool,
) -> tuple[Model, Parameters]:
    """Load what answers a scan, and say what is asked of it.

    What was left open when the folder was begun stays what it was then: its records are of one kind.

    Args:
        out: The output folder, which need not be there.
        engine: See `Parameters`.
        bundle: See `cxr_edge.api.load`, as up to ``gate``.
        provider: See there.
        precision: See there.
        operating_point: See there.
        unsure: See there.
        prevalence: See there.
        test_time_augmentation: See there.
        gate: See there.
        batch_size: Radiographs that run together; None takes what is quickest.
        explain: See `Parameters`.
        explain_if: See `Parameters`.
        waiting: Whether the program will wait for inputs: it must not keep the machine busy then.

    Raises:
        BundleError: See `cxr_edge.api.load`.
        ProviderError: See there.
        UsageError: See there.
    """
    before = None
    if "auto" in {provider, precision}:
        with suppress(OSError):  # whatever is the matter with the folder is said where it is opened
            before = read_description(out)
    model = load(
        bundle,
        provider=cast("Provider", before.asked.provider) if before and provider == "auto" else provider,
        threads=1,
        precision=before.asked.precision if before and precision == "auto" else precision,
        exact_labels=before.asked.exact_labels if before and precision == "auto" else None,
        use="scan",
        operating_point=operating_point,
        unsure=unsure,
        prevalence=prevalence,
        test_time_augmentation=test_time_augmentation,
        gate=gate,
        spinning=not waiting,
    )
    session = model.classifier.session
    parameters = Parameters(
        engine=engine,
        bundle=BundleRecord(**model.bundle.to_json()),
        provider=session.provider,
        precision=model.classifier.precision,
        exact_labels=model.classifier.exact_labels,
        operating_point=model.classifier.rule.operating_point,
        unsure=unsure,
        prevalence=prevalence,
        gate=model.classifier.gate is not None,
        batch_size=batch_size
        or (before and before.asked.batch_size)
        or model.batch_size
        or _quickest_batch(session.provider, model.classifier.precision),
        explain=explain,
        explain_if=explain_if,
        test_time_augmentation=test_time_augmentation,
    )
    return model, parameters


def _quickest_batch(provider: str, precision: str) -> int:
    """Give what is quickest: int8 convolutions gain from company, float32 ones on one core do not."""
    return 16 if provider in {"cuda", "directml"} else 4 if precision == "int8" else 1


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
def stopped_by_signals() -> Iterator[Event]:
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
