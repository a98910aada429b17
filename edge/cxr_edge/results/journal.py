"""``results.jsonl``: one record per line, appended and never changed."""

import json
import os
import time
from pathlib import Path
from typing import Any

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.results.index import REFUSED, Index, State
from cxr_edge.results.record import to_line

FILE = "results.jsonl"
_SYNC_EVERY = 1.0  # seconds of work that a power cut may cost; a killed process loses nothing


class Journal:
    """The record of a scan.

    A record is one write to the file, handed to the operating system before the next begins, and to the disk once
    a second. A last line that a power cut or a full disk left incomplete is cut off when the journal is opened.

    Args:
        folder: The output folder.

    Raises:
        UsageError: A line is no record of this schema.
        OSError: The file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.index = Index()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._end = self._safe = 0
        self._synced = time.monotonic()
        try:
            self._replay()
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def _replay(self) -> None:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    self.index.add(record["path"], state_of(record), self._end)
                except (ValueError, KeyError, TypeError) as error:
                    raise UsageError(
                        f"{self.path}: line {number} is no record of a scan; delete that line or take another --out"
                    ) from error
                self._end += len(line)

    def append(self, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: The disk is full, or the journal was deleted; what was recorded before is whole.
        """
        line = to_line(record).encode("ascii") + b"\n"
        try:
            written = os.write(self._file, line) if os.fstat(self._file).st_nlink else None
            reason = "no space left"  # what half a line means; the kernel says it itself when nothing fits
        except OSError as error:
            written, reason = 0, error.strerror or str(error)
        if written is None:
            raise OutputError(f"{self.path}: deleted while the scan was running; start it again")
        if written != len(line):
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            raise OutputError(
                f"{self.path}: cannot be written ({reason}); every record before is kept: make room and start the same"
                " scan again"
            )
        self.index.add(record["path"], state_of(record), self._end)
        self._end += len(line)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self.sync()

    def record_of(self, sha256: str) -> dict[str, Any] | None:
        """Read the record of a content, None if it has none."""
        start = self.index.start(sha256)
        if start is None:
            return None
        with self.path.open("rb") as lines:
            lines.seek(start)
            return json.loads(lines.readline())

    def sync(self) -> None:
        """Put everything onto the disk."""
        if self._end != self._safe:
            os.fsync(self._file)
        self._safe, self._synced = self._end, time.monotonic()

    def close(self) -> None:
        """Put everything onto the disk and close."""
        try:
            self.sync()
        finally:
            os.close(self._file)
            self.index.close()


def state_of(record: dict[str, Any]) -> State:
    """Sum up a record."""
    outcomes = {"ok": record.get("label"), "refused": REFUSED}
    outcome = outcomes.get(record["status"]) or f"error: {record['error']['kind']}"
    return State(record.get("sha256"), outcome)
