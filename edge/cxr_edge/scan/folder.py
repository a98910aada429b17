"""The output folder of a scan with its pictures: one scan at a time writes into it, with one set of parameters."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.explanation import rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.overlays import heat_layer, layers, page_pictures
from cxr_edge.files import write_atomically
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.expectation import PointRecord
from cxr_edge.results.index import DESCRIPTION, Description, Parameters, differences, read_description
from cxr_edge.results.journal import JOURNAL, Journal
from cxr_edge.results.output import (
    HEAT_LAYER,
    THUMBNAIL,
    assets_of,
    file_mode,
    make_folder_below,
    make_output_folder,
    open_output,
    unwritable,
)
from cxr_edge.results.schema import Answered, Failed, Record

_SHOWN_BY_BROWSERS = {"JPEG", "PNG"}


def write_pictures(out: Path, sha256: str, radiograph: Radiograph, explanation: Explanation | None) -> dict[str, str]:
    """Write a thumbnail and, of an explanation, what is laid over the radiograph.

    The radiograph itself is written where something lies over it, or where a browser cannot show the file: drawing all
    of them cost a scan two fifths of its throughput.

    Args:
        out: The output folder.
        sha256: The content's hash, which names the pictures' folder.
        radiograph: What to show.
        explanation: Its explanation, if there is one.

    Returns:
        Path relative to ``out`` in POSIX form by file name, as far as written.

    Raises:
        OutputError: They cannot be written.
    """
    saliency = explanation.saliency if explanation is not None else None
    large = explanation is not None or radiograph.source.format not in _SHOWN_BY_BROWSERS
    pictures = page_pictures(radiograph, saliency, large=large)
    if explanation is not None:
        pictures |= layers(explanation)
    return _write(out, sha256, pictures)


def lacks_pictures(out: Path, sha256: str) -> bool:
    """Say whether a content has no picture to look at."""
    return not (out / assets_of(sha256) / THUMBNAIL).exists()


def write_known_pictures(out: Path, record: Record, radiograph: Radiograph) -> None:
    """Write what can be drawn from a record: the radiograph and, where there is a Grad-CAM, the heat map.

    Args:
        out: The output folder.
        record: What was answered.
        radiograph: What to show.

    Raises:
        OutputError: They cannot be written.
    """
    if isinstance(record, Failed) or not record.sha256:
        return
    saliency = None
    if isinstance(record, Answered) and record.explanation is not UNSET and record.explanation.saliency is not UNSET:
        said = record.explanation.saliency
        saliency = SaliencyMap(np.array(said.raw, np.float32), said.method, said.target)
    large = saliency is not None or radiograph.source.format not in _SHOWN_BY_BROWSERS
    pictures = page_pictures(radiograph, saliency, large=large)
    if saliency is not None:
        pictures[HEAT_LAYER] = rendering.to_png(heat_layer(saliency))
    _write(out, record.sha256, pictures)


def _write(out: Path, sha256: str, pictures: Mapping[str, bytes]) -> dict[str, str]:
    below = assets_of(sha256)
    try:
        folder = make_folder_below(out, below)
        mode = file_mode(folder)
        for name, data in pictures.items():
            write_atomically(folder / name, data, mode=mode)
    except OSError as error:
        problem = f"pictures cannot be written ({error.strerror})"
        raise OutputError(problem, cure="make room and start the same scan again", path=out / below) from error
    return {name: (below / name).as_posix() for name in pictures}


LOCK = ".lock"
_LONGEST = 4096  # bytes that a lock file may say
# What a share without locks answers; the last two where the client knows nothing of them.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked_folder(
    path: Path, parameters: Parameters, *, mode: int, pictures: bool, point: PointRecord | None = None
) -> Iterator[str | None]:
    """Take an output folder, new or from an earlier scan of the same parameters, for as long as the block runs.

    Args:
        path: The folder.
        parameters: What is asked.
        mode: Permissions of the folder, if it is made.
        pictures: Whether thumbnails are asked for.
        point: What the bundle states about the operating point.

    Yields:
        Who had it before and ended without giving it up, None if nobody did.

    Raises:
        UsageError: Another scan has it, it was written with other parameters, or its file system has no locks.
        OutputError: It cannot be written.
    """
    with _writing(path):
        make_output_folder(path, mode)
        lock = Lock(path)
    try:
        with _writing(path):
            described = _describe(path, parameters, pictures=pictures, point=point)
        start = time.monotonic()
        yield lock.stale
        with _writing(path):
            replace(described, seconds=round(described.seconds + time.monotonic() - start, 1)).write(path)
    finally:
        lock.release()


@contextmanager
def open_journal(path: Path, *, skip_bad: bool = False) -> Iterator[Journal]:
    """Open the journal of an output folder that is locked.

    Raises:
        UsageError: It holds something else than records.
        OutputError: It cannot be written.
    """
    with _writing(path):
        opened = Journal(path, skip_bad=skip_bad)
    try:
        yield opened
    except BaseException:
        with suppress(OSError):  # what went wrong first is what to say
            opened.close()
        raise
    with _writing(path):
        opened.close()


class Lock:
    """Keeps other scans out of a folder until `release` or the end of the process, however that comes.

    The operating system gives the lock up with the process, on whatever machine or in whatever container that ran: a
    lock that can be taken is free, whatever the file still says.

    Attributes:
        stale: Who had it and ended without releasing it, None if nobody did.

    Args:
        folder: The output folder, which exists.

    Raises:
        UsageError: Another scan has it; or the file system has no locks, or the lock file is no file of ours.
        OSError: The lock file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.fdopen(open_output(folder / LOCK), "r+b")
        try:
            self.stale = _take_over(self._file, folder)
            self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        except BaseException:
            self._file.close()
            raise

    def _write(self, text: str) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self._file.write(text.encode("ascii"))
        self._file.flush()

    def release(self) -> None:
        """Empty the file, so that it names nobody, and let go of it."""
        with contextlib.suppress(OSError):  # the disk may be full or the folder gone
            self._write("")
        self._file.close()


def _take_over(file: IO[bytes], folder: Path) -> str | None:
    """Take a lock file; give who had it and ended without releasing it."""
    try:
        free = _take(file)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        problem = f"this file system has no locks ({error.strerror}), so that two scans could write here at once"
        cure = "take --out on a disk of this machine, or mount the share with locks"
        raise UsageError(problem, cure=cure, path=folder) from error
    file.seek(0)
    holder = _read_holder(file.read(_LONGEST))
    if not free:
        cure = "wait for it or take another --out"
        raise UsageError(f"another scan is writing here ({holder})", cure=cure, path=folder)
    return holder


def _read_holder(data: bytes) -> str | None:
    """Say who a lock file names; None if it names nobody, or was written by half."""
    with suppress(ValueError, RecursionError):
        said = json.loads(data)
        if isinstance(said, dict) and {"pid", "host", "since"} <= set(said):
            return f"process {said['pid']} on {said['host']} since {said['since']}"
    return None


def _take(file: IO[bytes]) -> bool:
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 20)  # a locked range cannot be read by others, and who has it is to be read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except PermissionError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def _describe(path: Path, parameters: Parameters, *, pictures: bool, point: PointRecord | None) -> Description:
    """Check ``scan.json`` against the parameters, or write a new one."""
    found = read_description(path)
    if found is None:
        if (path / JOURNAL).exists():
            problem = f"has a {JOURNAL} but no {DESCRIPTION} that says how it was made"
            raise UsageError(problem, cure="take another --out", path=path)
        described = Description(asked=parameters, started=_now(), seconds=0.0, pictures=pictures, point=point)
        described.write(path)
        return described
    if differing := differences(found.asked, parameters):
        problem = f"scanned with other parameters ({'; '.join(differing)})"
        raise UsageError(problem, cure="scan as before or take another --out", path=path)
    return replace(found, pictures=found.pictures or pictures, point=point)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
