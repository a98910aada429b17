"""``results.jsonl``: one record per line, appended and never changed; its one reader and its one writer.

A scan on a cluster writes Parquet files with a column of records into ``records/`` instead.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import open_atomically, write_atomically
from cxr_edge.results.index import Index, State
from cxr_edge.results.output import file_mode, open_output
from cxr_edge.results.record import read_record, to_line
from cxr_edge.results.schema import Record

JOURNAL = "results.jsonl"
BAD_LINES = "results.bad.jsonl"
_LONGEST = 200  # characters of a fault, which may quote what is in the file
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


def no_record(path: Path, place: str, error: Exception) -> UsageError:
    """Give the error of what is no record.

    Args:
        path: The file.
        place: Where in it.
        error: What is wrong with it.
    """
    problem = f"{place} is no record of a scan: {str(error)[:_LONGEST]}"
    return UsageError(problem, cure="take --skip-bad to leave it out", path=path)


@dataclass(frozen=True)
class JournalEntry:
    """A record in a journal.

    Attributes:
        record: The record.
        start: The byte at which its line begins.
        end: The byte after its line.
    """

    record: Record
    start: int
    end: int


def read_journal(path: Path, *, start: int = 0, bad: Callable[[BadLine], None] | None = None) -> Iterator[JournalEntry]:
    """Read a journal; a last line that was not written to its end is left out.

    Args:
        path: The journal.
        start: The byte to begin at, where a line begins; lines are numbered from there.
        bad: Takes lines that are no records; None ends the reading at the first.

    Raises:
        UsageError: A line is no record; the message names it and the fault.
        OSError: The file cannot be read.
    """
    with path.open("rb") as lines:
        lines.seek(start)
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return  # being written, or cut off by a crash
            try:
                record = read_record(line)
                if record.path is None:
                    raise ValueError("it names no file")  # noqa: TRY301  # as every other fault of a line
            except ValueError as error:
                if bad is None:
                    raise no_record(path, f"line {number}", error) from error
                bad(BadLine(number, line, str(error)))
            else:
                yield JournalEntry(record, start, start + len(line))
            start += len(line)


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
        UsageError: A line is no record, and ``skip_bad`` was not asked for; or the journal is a link.
        OSError: The file cannot be read or written.
    """

    def __init__(self, folder: Path, *, skip_bad: bool = False) -> None:
        self.path = folder / JOURNAL
        self.index = Index()
        os.close(open_output(self.path))  # no link is read, either
        self.left_out = _move_bad_lines(self.path) if skip_bad else 0
        self._file = open_output(self.path)
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
            problem = "deleted while the scan was running, or moved away"
            raise OutputError(problem, cure="start it again", path=self.path)
        if written != len(line):
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            cure = "every record before is kept: make room and start the same scan again"
            raise OutputError(f"cannot be written ({reason})", cure=cure, path=self.path)
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
    for _ in read_journal(path, bad=bad.append):
        pass
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


SLICES = "records"


def read_slices(folder: Path, *, bad: Callable[[BadLine], None] | None = None) -> Iterator[Record]:
    """Read the records of a scan on a cluster, in the order of its slices.

    Args:
        folder: ``records`` in the output folder, or one slice below it.
        bad: Takes what is no record; None ends the reading at the first.

    Raises:
        UsageError: pyarrow is not installed, or a row is no record; the message names its file.
        OSError: A file cannot be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        cure = "run pip install 'cxr-edge[parquet]'"
        raise UsageError("records of a cluster need pyarrow", cure=cure) from error
    for path in sorted(folder.rglob("*.parquet")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # a slice that is not finished
        try:
            with parquet.ParquetFile(path) as file:
                rows = [row.as_py() for batch in file.iter_batches(columns=["record"]) for row in batch.column(0)]
        except ArrowException as error:
            problem = f"no Parquet file of records ({type(error).__name__})"
            raise UsageError(problem, cure="delete it and scan again", path=path) from error
        for number, row in enumerate(rows, start=1):
            try:
                yield read_record(row)
            except (ValueError, TypeError) as error:
                if bad is None:
                    raise no_record(path, f"row {number}", error) from error
                bad(BadLine(number, f"{row}\n".encode("utf-8", "backslashreplace"), str(error)))
