"""``audit.json``: written, and read again to stand beside another audit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_edge.errors import UsageError
from cxr_edge.files import write_atomically

SCHEMA = 1
FILE = "audit.json"


def write_record(path: Path, audit: Mapping[str, Any]) -> None:
    """Writes an audit."""
    write_atomically(path, json.dumps(audit, indent=1, allow_nan=False).encode() + b"\n")


def read_record(path: Path) -> dict[str, Any]:
    """Reads an audit.

    Raises:
        UsageError: The file is no audit of this version.
    """
    try:
        audit: dict[str, Any] = json.loads(path.read_text("utf-8"))
        schema = audit["schema"], audit["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: {error}; expected an audit.json that cxr-train audit wrote") from error
    if schema != (SCHEMA, "audit"):
        raise UsageError(f"{path}: schema {schema[0]!r} of {schema[1]!r}, expected {SCHEMA} of 'audit'; audit it again")
    return audit


def plain(value: Any) -> Any:
    """JSON's own types all the way down; what is no number becomes null."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
