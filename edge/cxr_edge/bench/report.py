"""Everything that one call of ``cxr-edge bench`` found, as an object and as JSON."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.bench.cases import Case
from cxr_edge.bench.environment import Environment
from cxr_edge.bench.inputs import Inputs
from cxr_edge.bench.measure import Figures, Rule
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically

SCHEMA = 1
KIND = "cxr-edge bench"


@dataclass(frozen=True)
class Report:
    """Figures with all that they depend on.

    Attributes:
        created: When, in UTC (ISO 8601).
        bundle: Name, version and SHA-256 of the bundle.
        environment: The machine and the versions.
        inputs: The radiographs.
        rule: When the figures were held to have settled.
        figures: What was measured, in the order of the table.
    """

    created: str
    bundle: Mapping[str, str]
    environment: Environment
    inputs: Inputs
    rule: Rule
    figures: Mapping[Case, Figures]

    def to_json(self) -> dict[str, object]:
        """Give the report, schema 1."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "created": self.created,
            "bundle": dict(self.bundle),
            "environment": self.environment.to_json(),
            "inputs": self.inputs.to_json(),
            "rule": self.rule.to_json(),
            "results": [{**case.to_json(), **figures.to_json()} for case, figures in self.figures.items()],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Report":
        """Read what `to_json` gave.

        Raises:
            KeyError: A part is missing.
            TypeError: A part is of another type.
            ValueError: A part cannot be.
        """
        if record["kind"] != KIND:
            raise ValueError(f"kind {record['kind']!r}")
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}, this version reads {SCHEMA}")
        if not record["results"]:
            raise ValueError("no results")
        return cls(
            created=str(record["created"]),
            bundle={name: str(record["bundle"][name]) for name in ("name", "version", "sha256")},
            environment=Environment.from_json(record["environment"]),
            inputs=Inputs.from_json(record["inputs"]),
            rule=Rule(**record["rule"]),
            figures={Case.from_json(each): Figures.from_json(each) for each in record["results"]},
        )


def read_report(path: Path) -> Report:
    """Read a report that ``--out`` wrote.

    Raises:
        UsageError: The file is missing, is no such report, or was damaged.
    """
    cure = "name a file that cxr-edge bench --out wrote"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); {cure}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON ({error}); {cure}") from error
    try:
        return Report.from_json(record)
    except KeyError as error:
        raise UsageError(f"{path}: no report of a benchmark ({error} is missing); {cure}") from error
    except (TypeError, ValueError, OverflowError, AttributeError, UsageError) as error:
        raise UsageError(f"{path}: no report of a benchmark ({error}); {cure}") from error


def to_text(record: dict[str, object]) -> str:
    """Write the record of a report as JSON, in ASCII."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before time is spent on its content.

    Raises:
        UsageError: It is a folder, or its folder is missing or may not be written to.
    """
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: cannot be written; name a file in a folder that is there and may be written to")


def write(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing.

    Raises:
        OutputError: The disk is full, say.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room or name another file") from error
