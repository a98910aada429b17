"""What derives from the journal of a scan and can be rebuilt at any time: CSV, Parquet and a page for people."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import UsageError

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
        from cxr_edge.results.columns import require_pyarrow

        require_pyarrow()
    return tuple(name for name in FORMATS if name in names)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: ``results.csv``, ``results.parquet``, ``report.html``, as far as asked for.
        left_out: How many lines of the journal were no records, and are kept in ``results.bad.jsonl``.
    """

    files: tuple[Path, ...]
    left_out: int


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
    from cxr_edge.report.latest import LatestRecords
    from cxr_edge.report.page import write_page
    from cxr_edge.report.summary import Summary
    from cxr_edge.report.tables import Sink, csv_sink, parquet_sink
    from cxr_edge.results.output import unwritable
    from cxr_edge.results.parameters import read_description

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
    return Written(tuple(paths.values()), records.left_out)
