"""What an audit found, in the bundle it looked at: the manifest keeps the main figures, the model card quotes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_export.card import still_true
from cxr_export.folders import changing

_SCHEMA = 1


def add_audit(bundle: Bundle, path: Path) -> dict[str, Any]:
    """Has a bundle quote an audit of itself, in place of one that it may quote already.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        path: The ``audit.json`` that ``cxr-train audit`` wrote for it.

    Returns:
        What the manifest keeps: command, date, radiographs, interval, the audited files' hashes, the figures of merit
        at every operating point, and every bar.

    Raises:
        UsageError: The file is no audit, or one of other networks or another operating point.
    """
    try:
        audit = json.loads(path.read_text("utf-8"))
        if (audit["kind"], audit["schema"]) != ("audit", _SCHEMA):
            raise UsageError(f"{path}: {audit['kind']!r} of schema {audit['schema']!r}, expected 'audit' of {_SCHEMA}")
        quoted = _quoted(audit)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: {error!r}; expected an audit.json that cxr-train audit wrote") from error
    points = bundle.manifest.operating_points
    shipped = points.default, points.points[points.default].threshold
    if not still_true(bundle.manifest, quoted) or shipped != (quoted["operating_point"], quoted["threshold"]):
        raise UsageError(
            f"{path}: an audit of another bundle than {bundle.folder}: the networks or the operating point differ;"
            f" run cxr-train audit --bundle {bundle.folder}"
        )
    with changing(bundle) as (_, values):
        values["audit"] = quoted
    return quoted


def _quoted(audit: dict[str, Any]) -> dict[str, Any]:
    about, data = audit["bundle"], audit["data"]
    return {
        "command": audit["command"],
        "date": audit["date"],
        "data": {name: data[name] for name in ("split", "images", "patients")},
        "interval": audit["interval"],
        "precision": about["precision"],
        "operating_point": about["operating_point"],
        "threshold": about["threshold"],
        "files": about["files"],
        "points": {name: point["metrics"] for name, point in audit["discrimination"]["points"].items()},
        "bars": audit["bars"],
    }
