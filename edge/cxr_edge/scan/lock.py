"""One scan at a time on one output folder."""

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cxr_edge.errors import UsageError

FILE = ".lock"


class Lock:
    """Holds a folder until `release` or the end of the process, however that comes.

    The operating system gives the lock up with the process, so that a lock that can be taken is free, whatever the file
    still says: that is how one left by a killed scan is told from one in use. Only a holder on another machine is taken
    at its word, because not every network share passes locks on.

    Attributes:
        stale: Who held it and ended without releasing it, None if nobody did.

    Args:
        folder: The output folder, which exists.

    Raises:
        UsageError: Another scan holds it, or may hold it.
        OSError: The lock file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._file = path.open("a+", encoding="utf-8")
        free = _take(self._file)
        self._file.seek(0)
        holder = _parse(self._file.read())
        who = f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"
        if not free:
            self._file.close()
            raise UsageError(f"{folder}: another scan is writing here ({who}); wait for it or take another --out")
        if holder and holder["host"] != socket.gethostname():
            self._file.close()
            raise UsageError(
                f"{folder}: a scan on another machine holds this folder ({who}); if it runs no more, delete {path}"
            )
        self.stale = who if holder else None
        self._file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Empty the file, so that it names nobody, and let go of it."""
        with contextlib.suppress(OSError):  # the disk may be full or the folder gone
            self._file.truncate(0)
        self._file.close()


def _parse(text: str) -> dict[str, Any]:
    """Read the holder; a half-written one says nothing."""
    with contextlib.suppress(ValueError):
        holder = json.loads(text)
        if isinstance(holder, dict) and {"pid", "host", "since"} <= set(holder):
            return holder
    return {}


def _take(file: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1 << 20)  # a locked range cannot be read by others, and who holds it is to be read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
