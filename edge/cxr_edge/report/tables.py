"""Sinks for tables: rows in, a file that spreadsheets and data frames open out."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cxr_edge.files import open_atomically
from cxr_edge.results.columns import COLUMNS, Row, arrow_schema
from cxr_edge.results.output import file_mode

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
