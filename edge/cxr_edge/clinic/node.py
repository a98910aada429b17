"""The node: receives radiographs, has the scan's engine answer them, and sends the results to the archives.

In the output folder of the scan lie ``received``, with every object as it was received, and ``outbox``, with the
results. Both are the whole state: a node that was killed goes on from what lies there and in the journal.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty
from threading import Event

from cxr_edge.api import Model
from cxr_edge.clinic.delivery import Archive, Delivery
from cxr_edge.clinic.receiving import Receiver, ReceivingLimits
from cxr_edge.clinic.results import ResultOptions, ResultSink
from cxr_edge.errors import InputError, OutputError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.report import write_reports
from cxr_edge.results.index import Index, Parameters
from cxr_edge.results.output import PRIVATE, make_folder_below, make_output_folder, unwritable
from cxr_edge.scan.local import scan_locally, stopped_by_signals
from cxr_edge.text import printable

RECEIVED, OUTBOX = "received", "outbox"
_PAUSE = 0.1  # seconds that the engine waits for the next object
_AGAIN = 10.0  # seconds after which a full disk is tried again


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
    """

    ae_title: str
    host: str
    port: int
    accept: tuple[str, ...]
    send_to: tuple[Archive, ...]
    limits: ReceivingLimits
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None


def run_node(
    model: Model,
    parameters: Parameters,
    options: NodeOptions,
    *,
    out: Path,
    workers: int,
    results: ResultOptions,
    mode: int = PRIVATE,
) -> None:
    """Receive, answer and deliver until Ctrl-C or SIGTERM.

    Args:
        model: What answers; see `scan_locally`.
        parameters: What is asked.
        options: How the node talks to others.
        out: The output folder, new or of a node with the same parameters.
        workers: See `scan_locally`.
        results: Which DICOM objects are made of an answer.
        mode: Permissions of the output folder, if it is made.

    Raises:
        UsageError: The port is taken, or the folder is in use or holds records of other parameters.
        OutputError: The folder cannot be made.
        BundleError: The network answers NaN.
    """
    try:
        make_output_folder(out, mode)
        received, outbox = make_folder_below(out, RECEIVED), make_folder_below(out, OUTBOX)
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
    deliveries = [
        Delivery(outbox, archive, ae_title=options.ae_title, tls=options.client_tls, say=say)
        for archive in options.send_to
    ]
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
        arrivals=partial(_arrivals, received, receiver),
        refresh=partial(write_reports, out, formats=("csv", "html")),
    )
    with stopped_by_signals() as stop:
        port = receiver.start(options.host, options.port)
        say(f"{options.ae_title} listens at {options.host}:{port}")
        for delivery in deliveries:
            delivery.start()
        try:
            _answer(scan, stop)
        finally:
            receiver.stop()
            for delivery in deliveries:
                delivery.stop()
            for delivery in deliveries:
                delivery.join()
    write_reports(out, formats=("csv", "html"))
    say("stopped; the same command goes on from here")


def say(line: str) -> None:
    """Write a line of the log."""
    sys.stderr.write(f"{printable(line)}\n")


def _answer(scan: Callable[..., object], stop: Event) -> None:
    """Answer what arrives; a disk that is full is waited for, because nothing that was confirmed may be lost."""
    while not stop.is_set():
        try:
            scan(stop=stop)
        except OutputError as error:
            say(f"results cannot be written: {error.problem}; tried again in {_AGAIN:.0f} s")
            stop.wait(_AGAIN)


def _arrivals(received: Path, receiver: Receiver, index: Index, stop: Event) -> Iterator[Path | InputError | None]:
    """Give what has no answer yet, then what arrives; a name stands for a content, so that no file is read again."""
    for path in sorted(received.glob("*.dcm")):
        state = index.state(str(path))
        if not path.name.startswith(".") and (state is None or state.failed):
            yield path
    while not stop.is_set():
        try:
            yield receiver.arrived.get(timeout=_PAUSE)
        except Empty:
            yield None
