"""The node: receives radiographs, has the scan's engine answer them, and sends the results to the archives.

In the output folder of the scan lie ``received``, with every object as it was received, and ``outbox``, with the
results. Both are the whole state: a node that was killed goes on from what lies there and in the journal.
"""

from __future__ import annotations

import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty
from threading import Event

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag

from cxr_edge.api import Model
from cxr_edge.clinic.delivery import Archive, Delivery, mark_of, results_in
from cxr_edge.clinic.receiving import Receiver, ReceivingLimits
from cxr_edge.clinic.results import ResultOptions, ResultSink
from cxr_edge.errors import InputError, OutputError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.report import Written, write_reports
from cxr_edge.results.index import Index, Parameters
from cxr_edge.results.journal import JOURNAL
from cxr_edge.results.output import PRIVATE, assets_of, make_folder_below, make_output_folder, unwritable
from cxr_edge.scan.local import scan_locally, stopped_by_signals
from cxr_edge.text import printable, say

RECEIVED, OUTBOX = "received", "outbox"
_PAUSE = 0.1  # seconds that the engine waits for the next object
_HOUR = 3600.0
_REFERENCED = Tag("ReferencedSOPInstanceUID")
_GRACE = 5.0  # seconds for an object that is being sent when the node stops
_AGAIN = 5.0  # seconds after which a full disk is tried again


@dataclass(frozen=True)
class NodeOptions:
    """How the node talks to others.

    Attributes:
        ae_title: What it is called.
        host: Where it listens.
        port: Where it listens; 0 takes a free port.
        accept: AE titles of those who may send; empty for everybody.
        send_to: The archives that get the results.
        limits: What is taken.
        server_tls: How connections to the node are encrypted; None leaves them as they are.
        client_tls: The same for connections to archives.
        trial_tls: The same for a connection of the node with itself.
    """

    ae_title: str
    host: str
    port: int
    accept: tuple[str, ...]
    send_to: tuple[Archive, ...]
    limits: ReceivingLimits
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    trial_tls: ssl.SSLContext | None = None


def run_node(
    model: Model,
    parameters: Parameters,
    options: NodeOptions,
    *,
    out: Path,
    workers: int,
    results: ResultOptions,
    keep: float | None = None,
    mode: int = PRIVATE,
    skip_bad: bool = False,
    ready: Callable[[int, Event], object] | None = None,
) -> None:
    """Receive, answer and deliver until Ctrl-C or SIGTERM.

    Args:
        model: What answers; see `scan_locally`.
        parameters: What is asked.
        options: How the node talks to others.
        out: The output folder, new or of a node with the same parameters.
        workers: See `scan_locally`.
        results: Which DICOM objects are made of an answer.
        keep: Days after which what was received, answered and delivered is removed; None keeps everything.
        mode: Permissions of the output folder, if it is made.
        skip_bad: See `scan_locally`.
        ready: Called with the port and with what ends the node when set, as soon as it listens.

    Raises:
        UsageError: The port is taken, or the folder is in use or holds records of other parameters.
        OutputError: The folder cannot be made.
        BundleError: The network answers NaN.
    """
    try:
        make_output_folder(out, mode)
        received, outbox = make_folder_below(out, RECEIVED), make_folder_below(out, OUTBOX)
        deliveries = [
            Delivery(outbox, archive, ae_title=options.ae_title, tls=options.client_tls, say=say)
            for archive in options.send_to
        ]
    except OSError as error:
        raise unwritable(out, error) from error
    sink = ResultSink(outbox, model, parameters, options=results, mode=mode)
    receiver = Receiver(
        received,
        ae_title=options.ae_title,
        accept=options.accept,
        limits=options.limits,
        tls=options.server_tls,
        say=say,
    )
    retention = Retention(out, options.send_to, keep)

    def begin(stop: Event) -> None:
        port = receiver.start(options.host, options.port)
        say(printable(f"{options.ae_title} listens at {options.host}:{port}"))
        for delivery in deliveries:
            delivery.start()
        if ready is not None:
            ready(port, stop)

    scan = partial(
        scan_locally,
        model,
        Discovery((received,), output=out),
        parameters,
        out=out,
        workers=workers,
        pictures=True,
        sinks=(sink,),
        mode=mode,
        skip_bad=skip_bad,
        arrivals=partial(_arrivals, receiver, retention, begin),
        refresh=partial(_write_reports, out, sink),
    )
    with stopped_by_signals() as stop, _faults_named():
        try:
            _answer(scan, stop)
        finally:
            receiver.stop()
            for delivery in deliveries:
                delivery.stop()
            for delivery in filter(Delivery.is_alive, deliveries):
                delivery.join(_GRACE)
    if (out / JOURNAL).exists():
        for sentence in _write_reports(out, sink).drift:
            say(printable(sentence), "warning")
    say("stopped; the same command goes on from here")


@contextmanager
def _faults_named() -> Iterator[None]:
    """Name what ends a thread by its type alone: its text and the trace may quote a peer."""
    before = threading.excepthook
    threading.excepthook = lambda fault: say(f"a connection ended inside ({fault.exc_type.__name__})")
    try:
        yield
    finally:
        threading.excepthook = before


def _answer(scan: Callable[..., object], stop: Event) -> None:
    """Answer what arrives; a disk that is full is waited for, because nothing that was confirmed may be lost."""
    while not stop.is_set():
        try:
            scan(stop=stop)
        except OutputError as error:
            say(f"results cannot be written: {error.problem}; tried again in {_AGAIN:.0f} s", "warning")
            stop.wait(_AGAIN)


def _write_reports(out: Path, sink: ResultSink) -> Written:
    written = write_reports(out, formats=("csv", "html"))
    if sink.failures:
        say(
            f"{len(sink.failures)} answers have no DICOM result, for want of a UID; they are in the report alone",
            "warning",
        )
        sink.failures.clear()
    return written


def _arrivals(
    receiver: Receiver, retention: Retention, begin: Callable[[Event], object], index: Index, stop: Event
) -> Iterator[Path | InputError | None]:
    """Give what has no answer yet, then what arrives; a name stands for a content, so that no file is read again.

    Nothing is received or sent before the engine has the folder for itself.
    """
    if not receiver.listens:
        begin(stop)
    for path in sorted(receiver.folder.glob("*.dcm")):
        state = index.state(str(path))
        if not path.name.startswith(".") and (state is None or state.failed):
            yield path
    while not stop.is_set():
        try:
            yield receiver.arrived.get(timeout=_PAUSE)
        except Empty:
            yield None
            retention.look(index)


class Retention:
    """Removes what is old, answered, and delivered to every archive.

    Args:
        out: The output folder of the node.
        archives: Who gets the results.
        keep: Days; None removes nothing.
    """

    def __init__(self, out: Path, archives: Sequence[Archive], keep: float | None) -> None:
        self._out, self._archives, self._keep = out, archives, keep
        self._next = 0.0

    def look(self, index: Index) -> None:
        """Remove what is to be removed, once an hour.

        Args:
            index: What is recorded.

        Raises:
            OutputError: A file cannot be removed.
        """
        if self._keep is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _HOUR
        before = time.time() - self._keep * 24 * _HOUR
        try:
            self._remove(index, before)
        except OSError as error:
            raise unwritable(self._out, error) from error

    def _remove(self, index: Index, before: float) -> None:
        outbox, needed = self._out / OUTBOX, set[str]()
        for name in results_in(outbox):
            result, marks = outbox / name, [mark_of(outbox, archive, name) for archive in self._archives]
            if not all(mark.exists() for mark in marks):
                needed |= {
                    str(element.value)
                    for element in dcmread(result, stop_before_pixels=True).iterall()
                    if element.tag == _REFERENCED
                }
            elif result.stat().st_mtime < before:
                result.unlink()  # before its marks: it would be sent again without them
                for mark in marks:
                    mark.unlink()
        for path in (self._out / RECEIVED).glob("*.dcm"):
            if not path.name.startswith(".") and path.stat().st_mtime < before:
                state = index.state(str(path))
                final = state is not None and (not state.failed or state.kind == "no-pixels")
                if final and str(read_file_meta_info(path).MediaStorageSOPInstanceUID) not in needed:
                    path.unlink()
                    shutil.rmtree(self._out / assets_of(path.stem), ignore_errors=True)
