"""What derives from the journal of a scan and can be rebuilt at any time: CSV, Parquet and a page for people."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cxr_edge.errors import OutputError, UsageError

_FILES = {"csv": "results.csv", "parquet": "results.parquet", "html": "report.html"}
FORMATS = ("jsonl", *_FILES)


def check_formats(formats: Sequence[str]) -> None:
    """Check that reports of these formats can be written, before hours are spent on what they report.

    Raises:
        UsageError: A format is unknown, or lacks its library.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"format {name!r}; expected some of {','.join(FORMATS)}")
    if "parquet" in formats:
        from cxr_edge.report.tables import require_pyarrow

        require_pyarrow()


def write_reports(folder: Path, *, formats: Sequence[str]) -> list[Path]:
    """Write reports from the journal of a folder, each as a whole or not at all.

    The journal is read record by record: to see which records still count, for the tables and the counts, and for the
    page. Memory grows by some twenty bytes for a record.

    Args:
        folder: Output folder of a scan, which may still be running.
        formats: Some of `FORMATS`; ``jsonl`` is the journal itself.

    Returns:
        The files written: ``results.csv``, ``results.parquet``, ``report.html``.

    Raises:
        UsageError: An unknown format, a missing library, or no journal in the folder.
        OutputError: A file cannot be written; the one that was there before is whole.
    """
    check_formats(formats)
    from cxr_edge.report.page import write_page
    from cxr_edge.report.rows import LatestRecords
    from cxr_edge.report.summary import Summary
    from cxr_edge.report.tables import Sink, csv_sink, parquet_sink

    records, summary = LatestRecords(folder), Summary()
    paths = {name: folder / _FILES[name] for name in _FILES if name in formats}
    try:
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
            write_page(paths["html"], records, summary)
    except OSError as error:
        raise OutputError(
            f"{folder}: reports cannot be written ({error.strerror}); check its permissions and the space left"
        ) from error
    return list(paths.values())
