"""Journal records → flat rows of one fixed set of columns."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import UNSET

from cxr_edge.errors import UsageError
from cxr_edge.results.journal import JOURNAL, BadLine, keep_bad_lines, read_journal
from cxr_edge.results.schema import Record
from cxr_edge.results.slices import SLICES, read_slices
from cxr_edge.text import printable

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the tables.

    Attributes:
        name: Its heading.
        kind: ``text``, ``texts`` (a list of them), ``real`` or ``whole``.
        keys: Where a record holds the value.
    """

    name: str
    kind: Literal["text", "texts", "real", "whole"]
    keys: tuple[str, ...]


COLUMNS = (
    Column("path", "text", ("path",)),
    Column("status", "text", ("status",)),
    Column("label", "text", ("label",)),
    Column("probability", "real", ("probability",)),
    Column("logodds", "real", ("logodds",)),
    Column("threshold", "real", ("threshold",)),
    Column("operating_point", "text", ("operating_point",)),
    Column("lowest_probability", "real", ("test_time_augmentation", "probability", "lowest")),
    Column("highest_probability", "real", ("test_time_augmentation", "probability", "highest")),
    Column("label_agreement", "real", ("test_time_augmentation", "label_agreement")),
    Column("gate_score", "real", ("gate", "score")),
    Column("refusal", "text", ("gate", "reason")),
    Column("warnings", "texts", ("warnings",)),
    Column("error_kind", "text", ("error", "kind")),
    Column("error_message", "text", ("error", "message")),
    Column("explained", "text", ("explanation", "target")),
    Column("lungs_share", "real", ("explanation", "evidence", "lungs_share")),
    Column("gradcam_inside", "real", ("explanation", "evidence", "gradcam_inside")),
    Column("lime_inside", "real", ("explanation", "evidence", "lime_inside")),
    Column("time", "text", ("time",)),
    Column("sha256", "text", ("sha256",)),
    Column("format", "text", ("source", "format")),
    Column("width", "whole", ("source", "width")),
    Column("height", "whole", ("source", "height")),
    Column("bits", "whole", ("source", "bits")),
    Column("steps", "texts", ("source", "steps")),
    Column("modality", "text", ("source", "modality")),
    Column("body_part", "text", ("source", "body_part")),
    Column("view_position", "text", ("source", "view_position")),
    Column("patient_age_years", "real", ("source", "patient_age_years")),
    Column("provider", "text", ("provider",)),
    Column("precision", "text", ("precision",)),
    Column("bundle_name", "text", ("bundle", "name")),
    Column("bundle_version", "text", ("bundle", "version")),
    Column("bundle_sha256", "text", ("bundle", "sha256")),
)


def flatten(record: Record) -> Row:
    """Give a record's row: one value for every column, None where the record has none.

    Text is made printable: line breaks and bytes of a path that are no UTF-8 become escapes.
    """
    row: Row = {}
    for column in COLUMNS:
        value: Any = record
        for key in column.keys:
            value = getattr(value, key, None)
        if value is UNSET:
            value = None
        if isinstance(value, str):
            value = printable(value)
        elif column.kind == "texts":
            value = [printable(text) for text in value or ()]
        row[column.name] = value
    return row


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
            path = str(record.path).encode("utf-8", "surrogateescape")
            keys.append(int.from_bytes(blake2b(path, digest_size=8).digest()))
        self.left_out = len(bad)
        if bad:
            keep_bad_lines(folder, bad)
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
            raise UsageError(
                f"{journal}: cannot be read ({error.strerror}); expected the output folder of cxr-edge scan"
            ) from error
