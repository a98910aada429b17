"""The engine for one machine, and the stages that the engine for a cluster runs as well."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model, load
from cxr_edge.errors import BundleError, InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import decode
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.results.index import Parameters, PointRecord
from cxr_edge.results.outcomes import Failure, attempt
from cxr_edge.results.output import PRIVATE
from cxr_edge.results.record import arrow_schema, flatten, to_line, to_record
from cxr_edge.results.schema import Record
from cxr_edge.runtime.machine import check_batch_size, usable_cores
from cxr_edge.runtime.sessions import Provider
from cxr_edge.scan.annotated import AnnotatedTree
from cxr_edge.scan.folder import locked_folder, open_journal
from cxr_edge.scan.pipeline import Content, Pipeline, Worker, failed_record, read
from cxr_edge.scan.progress import ProgressDisplay, Tally, counting
from cxr_edge.text import printable

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Facts:
    """What the second stage has to know beside the pixels.

    Attributes:
        sha256: The hash of the content.
        source: Where the pixels came from.
        warnings: What a reader of the answer should know.
    """

    sha256: str
    source: Source
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Decode:
    """First stage: paths → inputs of the network, or what is wrong with them.

    Attributes:
        parameters: What is asked.
        height: Rows of an input.
        width: Columns of an input.
    """

    parameters: Parameters
    height: int
    width: int

    def __call__(self, batch: Columns) -> Columns:
        """Take paths as bytes; give ``pixels`` float32 [N, height, width] and pickled ``facts``."""
        pixels = np.zeros((len(batch["path"]), self.height, self.width), np.float32)
        facts = np.empty(len(pixels), object)
        for number, name in enumerate(batch["path"]):
            path = Path(os.fsdecode(name))
            content = attempt(path, partial(read, path))
            if isinstance(content, Failure):
                facts[number] = pickle.dumps(failed_record(content, None, self.parameters))
                continue
            done = attempt(path, partial(self._decode, content, pixels[number]))
            facts[number] = pickle.dumps(
                failed_record(done, content.sha256, self.parameters) if isinstance(done, Failure) else done
            )
        return {"pixels": pixels, "facts": facts}

    def _decode(self, content: Content, pixels: NDArray[np.float32]) -> Facts:
        radiograph = decode(content.data, content.path)
        pixels[:] = to_input(radiograph, height=self.height, width=self.width)
        return Facts(content.sha256, radiograph.source, radiograph.warnings)


class Predict:
    """Second stage: inputs → records; keeps a network loaded for all its batches.

    Args:
        parameters: What is asked.
        bundle: Folder of the bundle on the machine that runs this; None takes the installed one.

    Raises:
        BundleError: That machine has another bundle.
    """

    def __init__(self, parameters: Parameters, bundle: Path | None) -> None:
        self._parameters = parameters
        self._model = load(
            bundle,
            provider=cast("Provider", parameters.provider),
            threads=1,
            precision=parameters.precision,
            operating_point=parameters.operating_point,
            test_time_augmentation=parameters.test_time_augmentation,
            gate=parameters.gate,
        )
        if self._model.bundle.digest != parameters.bundle.sha256:
            raise BundleError(f"{self._model.bundle.folder}: another bundle than where the scan was started")

    def __call__(self, batch: Columns) -> Any:
        """Take ``pixels`` and ``facts``; give an Arrow table of rows with the whole record as JSON in ``record``."""
        import pyarrow as pa

        records = []
        for pixels, data in zip(batch["pixels"], batch["facts"], strict=True):
            facts = pickle.loads(data)  # noqa: S301  # written by the stage before
            records.append(self._answer(pixels, facts) if isinstance(facts, Facts) else facts)
        schema = arrow_schema().append(pa.field("record", pa.string()))
        rows = [{**flatten(each), "record": to_line(each.to_json())} for each in records]
        return pa.Table.from_pylist(rows, schema=schema)

    def _answer(self, pixels: NDArray[np.float32], facts: Facts) -> Record:
        # An input is a radiograph already squashed: preprocessing leaves it as it is.
        radiograph = Radiograph(pixels, 255.0, facts.source, facts.warnings)
        path, digest = facts.source.path or Path(), self._parameters.digest

        def work() -> Record:
            answer = self._model.predict(radiograph)
            return to_record(answer, sha256=facts.sha256, parameters=digest, time=datetime.now(UTC))

        done = attempt(path, work)
        return failed_record(done, facts.sha256, self._parameters) if isinstance(done, Failure) else done


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
            sys.stderr.write(printable(f"An earlier scan ended abruptly ({stale}); going on after it.") + "\n")
        if journal.left_out:
            sys.stderr.write(f"{journal.left_out} lines of the journal were no records; they are kept beside it.\n")
        method = parameters.explain if parameters.explain != "none" else "gradcam"
        tree = AnnotatedTree(out, discovery.inputs, model, method=method) if annotated else None
        worker = Worker(model, parameters, journal, out, pictures=pictures, annotated=tree)
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
