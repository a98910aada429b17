"""The record of one input: the one shape that ``predict --json``, ``explain`` and ``scan`` write, as a line of JSON.

For tables it becomes a flat row of one fixed set of columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder
from msgspec.structs import replace

from cxr_edge.errors import UsageError
from cxr_edge.results.schema import RECORD_SCHEMA, Failed, Record, check
from cxr_edge.text import printable

# msgspec builds what it knows of a type when it first checks one, and crashes if two threads do so at once: built here.
JsonDecoder(Record)
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
    Column("certain_from", "real", ("certain_from",)),
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
    Column("shap_inside", "real", ("explanation", "evidence", "shap_inside")),
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


RESEARCH_USE = "Research use only: this is no medical device, and no diagnosis."


class Outcome(Protocol):
    """What became of an input: `Answer` or `Failure`."""

    def to_json(self) -> dict[str, object]:
        """Give its record without a hash, parameters, a time or an explanation."""


@dataclass(frozen=True)
class ExplanationPart:
    """What an explanation adds to the record of its answer; the mappings are made by the explanation's own classes.

    Attributes:
        target: The label that the maps speak for.
        warnings: All warnings of the record: the answer's, and what the explanation adds.
        saliency: Grad-CAM or a relative, if asked for.
        lime: The LIME explanation, if asked for.
        shap: The Shapley values, if asked for.
        evidence: How much of them lies in the lungs; None if the bundle cannot outline lungs.
        hidden: What the network says without the places that each map points at.
        files: File name → its path relative to the folder of the record, in POSIX form.
    """

    target: str
    warnings: tuple[str, ...]
    saliency: Mapping[str, object] | None = None
    lime: Mapping[str, object] | None = None
    evidence: Mapping[str, object] | None = None
    shap: Mapping[str, object] | None = None
    hidden: tuple[Mapping[str, object], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Give the record's ``explanation``."""
        maps = {"saliency": self.saliency, "lime": self.lime, "shap": self.shap, "evidence": self.evidence}
        known = {name: dict(each) for name, each in maps.items() if each is not None}
        hidden = {"hidden": [dict(each) for each in self.hidden]} if self.hidden else {}
        return {"target": self.target, **known, **hidden, "files": dict(self.files)}


def to_record(
    outcome: Outcome,
    *,
    explanation: ExplanationPart | None = None,
    sha256: str | None = None,
    parameters: str | None = None,
    time: datetime | None = None,
    research_use: bool = False,
) -> Record:
    """Build the record of an input; no record is built anywhere else.

    Args:
        outcome: What became of it.
        explanation: What explains the answer.
        sha256: The hash of the content; None where none could be read, or it was not asked for.
        parameters: The short hash of what was asked.
        time: When it was answered, in UTC.
        research_use: Whether the record says that it is no diagnosis: one that lies alone in a folder does.

    Raises:
        ValueError: The outcome does not fit the schema.
    """
    values = outcome.to_json()
    if explanation is not None:
        values |= {"warnings": list(explanation.warnings), "explanation": explanation.to_json()}
    if sha256 is not None or (parameters is not None and values["status"] == "error"):
        values["sha256"] = sha256
    if parameters is not None:
        values["parameters"] = parameters
    if time is not None:
        values["time"] = time.astimezone(UTC).isoformat(timespec="milliseconds")
    if research_use:
        values["research_use"] = RESEARCH_USE
    return check(values)


def to_line(values: Mapping[str, Any]) -> str:
    """Write JSON as one line of ASCII; bytes of a path that are no UTF-8 become lone surrogate escapes."""
    return json.dumps(values, allow_nan=False)


def read_record(data: bytes | str) -> Record:
    """Read a record of this schema or of the one before, and check it.

    Args:
        data: A line of a journal, or all of an ``explanation.json``.

    Raises:
        ValueError: It is none; the message is the fault: what was found where.
    """
    try:
        values = json.loads(data, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON ({error.msg} at character {error.pos})") from error
    return check(_from_schema_1(values) if isinstance(values, dict) and values.get("schema") == 1 else values)


def rename(record: Record, path: Path) -> Record:
    """Give the record of the same content under another name."""
    name = str(path)
    if record.path == name:
        return record
    if isinstance(record, Failed):
        message = name + record.error.message.removeprefix(record.path)
        return replace(record, path=name, error=replace(record.error, message=message))
    return replace(record, path=name, source=replace_fields(record.source, path=path))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name}, which is no number of JSON")


def _from_schema_1(old: dict[str, Any]) -> dict[str, Any]:
    """Give a record of the first release as one of this schema.

    A failure had its message alone. ``explanation.json`` had ``target``, ``explanations``, ``evidence`` and a list
    ``files`` where now all is in ``explanation``, as it was in ``results.jsonl``.
    """
    new = {**old, "schema": RECORD_SCHEMA}
    error, maps, names = old.get("error"), old.get("explanations"), old.get("files")
    if isinstance(error, dict):
        message = error.get("message")
        problem = message.removeprefix(f"{old.get('path')}: ") if isinstance(message, str) else message
        new["error"] = {"problem": problem, "cure": None, **error}
    if isinstance(maps, dict):
        for name in ("target", "explanations", "evidence", "files"):
            new.pop(name, None)
        said = {name: old[name] for name in ("target", "evidence") if name in old}
        new["explanation"] = {
            **said,
            **maps,
            "files": {name: name for name in names} if isinstance(names, list) else {},
        }
    return new
