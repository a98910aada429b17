"""``results.jsonl``: one record per line, appended and never changed; its one reader and its one writer."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Literal

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import open_atomically, write_atomically
from cxr_edge.results.output import file_mode
from cxr_edge.results.record import read_record, to_line
from cxr_edge.results.schema import Answered, Failed, Record

JOURNAL = "results.jsonl"
BAD_LINES = "results.bad.jsonl"
_SYNC_EVERY = 1.0  # seconds of work that a power cut may cost; a killed process loses nothing


@dataclass(frozen=True)
class BadLine:
    """A line of a journal that is no record.

    Attributes:
        number: Which line, from 1 on.
        data: The line.
        fault: What is wrong with it.
    """

    number: int
    data: bytes
    fault: str


@dataclass(frozen=True)
class Entry:
    """A record in a journal.

    Attributes:
        record: The record.
        start: The byte at which its line begins.
        end: The byte after its line.
    """

    record: Record
    start: int
    end: int


def read_journal(path: Path, *, bad: Callable[[BadLine], None] | None = None) -> Iterator[Entry]:
    """Read a journal; a last line that was not written to its end is left out.

    Args:
        path: The journal.
        bad: Takes lines that are no records; None ends the reading at the first.

    Raises:
        UsageError: A line is no record; the message names it and the fault.
        OSError: The file cannot be read.
    """
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return  # being written, or cut off by a crash
            try:
                record = read_record(line)
                if record.path is None:
                    raise ValueError("it names no file")  # noqa: TRY301  # as every other fault of a line
            except ValueError as error:
                if bad is None:
                    message = f"{path}: line {number} is no record of a scan: {error}; take --skip-bad to leave it out"
                    raise UsageError(message) from error
                bad(BadLine(number, line, str(error)))
            else:
                yield Entry(record, start, start + len(line))
            start += len(line)


@dataclass(frozen=True)
class State:
    """What is recorded about a path.

    Attributes:
        sha256: The hash of the content that was looked at; None where none could be read.
        status: What became of it.
        label: The label of an answer.
        kind: The kind of a failure.
    """

    sha256: str | None
    status: Literal["ok", "refused", "error"]
    label: str | None = None
    kind: str | None = None

    @classmethod
    def of(cls, record: Record) -> "State":
        """Sum up a record."""
        sha256 = record.sha256 or None
        if isinstance(record, Failed):
            return cls(sha256, "error", kind=record.error.kind)
        return cls(sha256, "ok", record.label) if isinstance(record, Answered) else cls(sha256, "refused")

    @property
    def failed(self) -> bool:
        """Whether the path could not be answered; it is tried again, where a refusal stands."""
        return self.status == "error"


class Index:
    """What a journal holds, by path and by content, in a memory that does not grow with it.

    A table on the disk that SQLite deletes by itself; it is filled anew from the journal at every start. Safe to use
    from several threads.
    """

    def __init__(self) -> None:
        # An empty name means a temporary file. No journal and no commit: it never outlives the process.
        self._table = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._claimed: set[str] = set()
        self._table.execute("PRAGMA journal_mode=OFF")
        columns = "key BLOB PRIMARY KEY, sha256 BLOB, status TEXT, label TEXT, kind TEXT"
        self._table.execute(f"CREATE TABLE path ({columns}) WITHOUT ROWID")
        self._table.execute("CREATE TABLE content (sha256 BLOB PRIMARY KEY, start INT) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def add(self, path: str, state: State, start: int) -> None:
        """Note a record that begins at the byte ``start`` of the journal."""
        content = bytes.fromhex(state.sha256) if state.sha256 else None
        row = (_key(path), content, state.status, state.label, state.kind)
        with self._lock:
            self._table.execute("INSERT OR REPLACE INTO path VALUES (?, ?, ?, ?, ?)", row)
            if content:
                self._table.execute("INSERT OR REPLACE INTO content VALUES (?, ?)", (content, start))
                self._claimed.discard(content.hex())

    def state(self, path: str) -> State | None:
        """Give what is recorded about a path, None if nothing is."""
        query = "SELECT sha256, status, label, kind FROM path WHERE key = ?"
        with self._lock:
            row = self._table.execute(query, (_key(path),)).fetchone()
        return State(row[0].hex() if row[0] else None, *row[1:]) if row else None

    def failed(self, path: str) -> bool:
        """Say whether a failure is recorded for a path."""
        state = self.state(path)
        return state is not None and state.failed

    def start(self, sha256: str) -> int | None:
        """Give where the journal has a record of this content, None if it has none."""
        with self._lock:
            return self._start(sha256)

    def claim(self, sha256: str) -> bool:
        """Take a content on; False if it is recorded already or another thread has taken it on."""
        with self._lock:
            if sha256 in self._claimed or self._start(sha256) is not None:
                return False
            self._claimed.add(sha256)
            return True

    def close(self) -> None:
        """Delete the table."""
        self._table.close()

    def _start(self, sha256: str) -> int | None:
        query = "SELECT start FROM content WHERE sha256 = ?"
        row = self._table.execute(query, (bytes.fromhex(sha256),)).fetchone()
        return row[0] if row else None


def _key(path: str) -> bytes:
    return blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Journal:
    """The record of a scan.

    A record is one write to the file, handed to the operating system before the next begins, and to the disk once
    a second. A last line that a power cut or a full disk left incomplete is cut off when the journal is opened.

    Attributes:
        path: The file.
        index: What it holds.
        left_out: How many lines were no records and lie in `BAD_LINES` now.

    Args:
        folder: The output folder.
        skip_bad: Whether lines that are no records are moved out of the journal into `BAD_LINES`.

    Raises:
        UsageError: A line is no record, and ``skip_bad`` was not asked for.
        OSError: The file cannot be read or written, or a symbolic link has its name.
    """

    def __init__(self, folder: Path, *, skip_bad: bool = False) -> None:
        self.path = folder / JOURNAL
        self.index = Index()
        self.left_out = _move_bad_lines(self.path) if skip_bad else 0
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.open(self.path, flags, file_mode(folder))
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
        for entry in read_journal(self.path):
            self.index.add(str(entry.record.path), State.of(entry.record), entry.start)
            self._end = entry.end

    def append(self, record: Record) -> None:
        """Write a record.

        Raises:
            OutputError: The disk is full, or the journal was deleted; what was recorded before is whole.
        """
        line = to_line(record.to_json()).encode("ascii") + b"\n"
        try:
            written = os.write(self._file, line) if self._in_place() else None
            reason = "no space left"  # what half a line means; the kernel says it itself when nothing fits
        except OSError as error:
            written, reason = 0, error.strerror or str(error)
        if written is None:
            raise OutputError(f"{self.path}: deleted while the scan was running, or moved away; start it again")
        if written != len(line):
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            raise OutputError(
                f"{self.path}: cannot be written ({reason}); every record before is kept: make room and start the same"
                " scan again"
            )
        self.index.add(str(record.path), State.of(record), self._end)
        self._end += len(line)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self.sync()

    def record_of(self, sha256: str) -> Record | None:
        """Read the record of a content, None if it has none."""
        start = self.index.start(sha256)
        if start is None:
            return None
        with self.path.open("rb") as lines:
            lines.seek(start)
            return read_record(lines.readline())

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

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False


def _move_bad_lines(path: Path) -> int:
    """Move lines that are no records from a journal into the file beside it; the records keep their order."""
    bad: list[BadLine] = []
    try:
        for _ in read_journal(path, bad=bad.append):
            pass
    except FileNotFoundError:  # a new scan
        return 0
    if not bad:
        return 0
    keep_bad_lines(path.parent, bad)
    numbers = {line.number for line in bad}
    with path.open("rb") as old, open_atomically(path, mode=file_mode(path.parent)) as new:
        new.writelines(line for number, line in enumerate(old, start=1) if number not in numbers)
    return len(bad)


def keep_bad_lines(folder: Path, bad: list[BadLine]) -> None:
    """Add lines that are no records to `BAD_LINES` of an output folder, each once.

    Args:
        folder: The output folder.
        bad: The lines.
    """
    path = folder / BAD_LINES
    before = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    known = set(before.splitlines(keepends=True))
    added = b"".join(line.data for line in bad if line.data not in known)
    write_atomically(path, before + added, mode=file_mode(folder))
