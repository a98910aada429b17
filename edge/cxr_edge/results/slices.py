"""``records/``: what a scan on a cluster writes instead of a journal, Parquet files with a column of records."""

from collections.abc import Callable, Iterator
from pathlib import Path

from cxr_edge.errors import UsageError
from cxr_edge.results.journal import BadLine, no_record
from cxr_edge.results.record import read_record
from cxr_edge.results.schema import Record

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
