"""What derives from the journal of a scan and can be rebuilt at any time: CSV, Parquet and a page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxr_edge.errors import UsageError
from cxr_edge.files import open_atomically
from cxr_edge.results.output import file_mode
from cxr_edge.results.record import COLUMNS, Row, arrow_schema

_ROW_GROUP = 1024  # rows in memory
# What makes spreadsheets take a text for a formula, with the full-width signs that they understand as well
# (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001


class Sink(Protocol):
    """Takes rows one by one."""

    def append(self, row: Row, /) -> None:
        """Take a row."""


@contextmanager
def csv_sink(path: Path) -> Iterator[Sink]:
    """Write a CSV file (RFC 4180) with headings, UTF-8 with the mark that makes spreadsheets read it as such.

    Lists are joined by ``; ``. A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    with open_atomically(path, mode=file_mode(path.parent)) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        try:
            yield _Csv(text)
        finally:
            text.detach()  # flushes; the file is closed by who opened it


class _Csv:
    def __init__(self, file: io.TextIOWrapper) -> None:
        self._writer = csv.writer(file)
        self._writer.writerow(column.name for column in COLUMNS)

    def append(self, row: Row) -> None:
        self._writer.writerow(_cell(row[column.name]) for column in COLUMNS)


def _cell(value: object) -> object:
    text = "; ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.lstrip().startswith(_FORMULA) else text


@contextmanager
def parquet_sink(path: Path) -> Iterator[Sink]:
    """Write a Parquet file with one column of the same name and type for each of ours.

    Raises:
        UsageError: pyarrow is not installed.
    """
    schema = arrow_schema()
    import pyarrow as pa
    from pyarrow import parquet

    with (
        open_atomically(path, mode=file_mode(path.parent)) as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        rows: list[Row] = []

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()

        class Parquet:
            def append(self, row: Row) -> None:
                rows.append(row)
                if len(rows) == _ROW_GROUP:
                    flush()

        yield Parquet()
        flush()


_FILES = {"csv": "results.csv", "parquet": "results.parquet", "html": "report.html"}
FORMATS = ("jsonl", *_FILES)


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a list of formats such as ``jsonl, csv,HTML``, and check that they can be written.

    Returns:
        Each once, in the order of `FORMATS`.

    Raises:
        UsageError: A format is unknown, lacks its library, or none is named.
    """
    names = {name.strip().lower() for name in text.split(",")} - {""}
    if unknown := sorted(names - {*FORMATS}):
        raise UsageError(f"format {unknown[0]!r}; expected some of {','.join(FORMATS)}")
    if not names:
        raise UsageError(f"no format named; expected some of {','.join(FORMATS)}")
    if "parquet" in names:
        from cxr_edge.results.record import require_pyarrow

        require_pyarrow()
    return tuple(name for name in FORMATS if name in names)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: ``results.csv``, ``results.parquet``, ``report.html``, as far as asked for.
        left_out: How many lines of the journal were no records, and are kept in ``results.bad.jsonl``.
        drift: In what the radiographs differ from those that the bundle was measured on.
    """

    files: tuple[Path, ...]
    left_out: int
    drift: tuple[str, ...] = ()


def write_reports(folder: Path, *, formats: Sequence[str], skip_bad: bool = False) -> Written:
    """Write reports from the journal of a folder, each as a whole or not at all.

    The journal is read record by record: to see which records still count, for the tables and the counts, and for the
    page. Memory grows by some twenty bytes for a record.

    Args:
        folder: Output folder of a scan, which may still be running, on this machine or on a cluster.
        formats: Some of `FORMATS`, from `parse_formats`; ``jsonl`` is the journal itself.
        skip_bad: Whether lines that are no records, and a ``scan.json`` that is none, are left out; else they are an
            error.

    Raises:
        UsageError: There is no journal in the folder; or a line of it is no record.
        OutputError: A file cannot be written; the one that was there before is whole.
    """
    from cxr_edge.report.page import write_page
    from cxr_edge.report.summary import LatestRecords, Summary
    from cxr_edge.results.index import read_description
    from cxr_edge.results.output import unwritable

    records, summary = LatestRecords(folder, skip_bad=skip_bad), Summary()
    paths = {name: folder / _FILES[name] for name in _FILES if name in formats}
    try:
        try:
            described = read_description(folder)
        except UsageError:
            if not skip_bad:
                raise
            described = None
        with ExitStack() as files:
            sinks: list[Sink] = [summary]
            if "csv" in paths:
                sinks.append(files.enter_context(csv_sink(paths["csv"])))
            if "parquet" in paths:
                sinks.append(files.enter_context(parquet_sink(paths["parquet"])))
            for row in records.rows():
                for sink in sinks:
                    sink.append(row)
        if "html" in paths:
            write_page(paths["html"], records, summary, described)
    except OSError as error:
        raise unwritable(folder, error) from error
    drift = summary.drift(described.point) if described else ()
    return Written(tuple(paths.values()), records.left_out, tuple(drift))
