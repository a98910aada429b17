"""Records → flat rows of one fixed set of columns, for tables."""

from dataclasses import dataclass
from typing import Any, Literal

from msgspec import UNSET

from cxr_edge.errors import UsageError
from cxr_edge.results.schema import Record
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
    Column("scope", "text", ("gate", "scope")),
    Column("scope_score", "real", ("gate", "scope_score")),
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


def require_pyarrow() -> None:
    """Check that Parquet can be written.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        cure = "run pip install 'cxr-edge[parquet]', or leave parquet out"
        raise UsageError("Parquet needs pyarrow", cure=cure) from error


def arrow_schema() -> Any:
    """Give the schema of a table of rows.

    Raises:
        UsageError: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow as pa

    types = {"text": pa.string(), "texts": pa.list_(pa.string()), "real": pa.float64(), "whole": pa.int64()}
    return pa.schema([(column.name, types[column.kind]) for column in COLUMNS])
