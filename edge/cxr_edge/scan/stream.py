"""Names as they come, outcomes in the same order: what a script needs that hands over files while they arrive."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import BinaryIO, TypeVar

from cxr_edge.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
STANDARD_INPUT = Path("-")
"""The name that stands for standard input; a file of this name is ``./-``."""
_AHEAD = 4  # names in work or waiting, for each worker


def read_names(source: Path) -> Iterator[Path]:
    """Give the paths that stand in a file, one a line, each as soon as its line is there.

    Empty lines are left out. A name may hold any byte but a line break.

    Args:
        source: The file; `STANDARD_INPUT` is standard input.

    Raises:
        InputError: It cannot be read.
    """
    try:
        if source == STANDARD_INPUT:
            yield from _lines(sys.stdin.buffer)
        else:
            with source.open("rb") as file:
                yield from _lines(file)
    except OSError as error:
        problem = f"names cannot be read ({error.strerror})"
        raise InputError(problem, kind="unreadable", cure="check --files-from", path=source) from error


def _lines(file: BinaryIO) -> Iterator[Path]:
    while line := file.readline():  # a file's own iterator would wait for more than one line
        if name := line.rstrip(b"\r\n"):
            yield Path(os.fsdecode(name))


def in_order(jobs: Iterable[Job], work: Callable[[Job], Result], *, workers: int) -> Iterator[tuple[Job, Result]]:
    """Do several jobs at once and give each outcome as soon as it and all before it are there.

    Jobs are taken by a thread of its own: an outcome does not wait for the next job to arrive.

    Args:
        jobs: What to do; it may wait for more.
        work: What is done with each, safe to call from several threads.
        workers: Jobs that are in work at once.

    Raises:
        Exception: What ``jobs`` or ``work`` raises, after the outcomes of the jobs before it.
    """
    waiting: Queue[tuple[Job, Future[Result]] | BaseException | None] = Queue(_AHEAD * workers)

    def take() -> None:
        try:
            for job in jobs:
                waiting.put((job, pool.submit(work, job)))
        except BaseException as error:  # noqa: BLE001  # raised again where the outcomes are taken
            waiting.put(error)
        else:
            waiting.put(None)

    with ThreadPoolExecutor(workers) as pool:
        Thread(target=take, daemon=True).start()
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            job, done = found
            yield job, done.result()
