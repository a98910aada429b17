"""The records of an output folder that still count."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge.results.columns import Row, flatten
from cxr_edge.results.journal import JOURNAL, SLICES, BadLine, keep_bad_lines, read_journal, read_slices
from cxr_edge.results.output import unwritable
from cxr_edge.results.schema import Record


class LatestRecords:
    """The records of an output folder as they are now; what a running scan appends later is left out.

    Of several records of one path the last counts: a failure may be tried again, a watched file may change.

    Attributes:
        left_out: How many lines were no records.

    Args:
        folder: Output folder of a scan, on this machine or on a cluster.
        skip_bad: Whether lines that are no records are left out, and kept beside the journal.

    Raises:
        UsageError: The folder has no journal; or a line of it is no record, and ``skip_bad`` was not asked for.
        OutputError: What was left out cannot be kept.
    """

    def __init__(self, folder: Path, *, skip_bad: bool = False) -> None:
        self._folder = folder
        self._skip_bad = skip_bad
        bad: list[BadLine] = []
        keys = array("Q")  # eight bytes for a path, however long it is and however many there are
        for record in self._records(bad):
            path = str(record.path).encode("utf-8", "surrogatepass")
            keys.append(int.from_bytes(blake2b(path, digest_size=8).digest()))
        self.left_out = len(bad)
        if bad:
            try:
                keep_bad_lines(folder, bad)
            except OSError as error:
                raise unwritable(folder, error) from error
        self._count = len(keys)
        self._last = np.zeros(self._count, bool)
        _, from_end = np.unique(np.array(keys, np.uint64)[::-1], return_index=True)
        self._last[self._count - 1 - from_end] = True

    def rows(self) -> Iterator[Row]:
        """Read the rows one by one, in the order of the journal."""
        for record, last in zip(islice(self._records([]), self._count), self._last, strict=True):
            if last:
                yield flatten(record)

    def _records(self, bad: list[BadLine]) -> Iterator[Record]:
        journal, slices = self._folder / JOURNAL, self._folder / SLICES
        take = bad.append if self._skip_bad else None
        try:
            if slices.is_dir() and not journal.exists():
                yield from read_slices(slices, bad=take)
            else:
                yield from (entry.record for entry in read_journal(journal, bad=take))
        except OSError as error:
            problem = f"cannot be read ({error.strerror}); expected the output folder of cxr-edge scan"
            raise UsageError(problem, path=journal) from error
