"""Records as a scan writes them, with what the tests vary."""

import hashlib
from typing import Any

BUNDLE = {"name": "tiny", "version": "1.0", "sha256": "ab" * 32}
THRESHOLD = 0.5


def answer(path: str, probability: float = 0.02, **more: object) -> dict[str, Any]:
    """An input with an answer; a content of its own."""
    return {
        "schema": 2,
        "path": path,
        "status": "ok",
        "label": "PNEUMONIA" if probability >= THRESHOLD else "NORMAL",
        "probability": probability,
        "logodds": -1.5,
        "threshold": THRESHOLD,
        "operating_point": "youden",
        "provider": "cpu",
        "precision": "fp32",
        "warnings": [],
        "bundle": BUNDLE,
        "source": {"path": path, "format": "DICOM", "width": 9, "height": 8, "bits": 16, "steps": ["window 40/80"]},
        "sha256": hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest(),
        "parameters": "0123456789abcdef",
        "time": "2026-01-02T03:04:05.678+00:00",
        **more,
    }


def refusal(path: str) -> dict[str, Any]:
    """An input that is no chest radiograph."""
    gate = {"score": 7.5, "threshold": 1.0, "refused": True, "reason": "not like a chest radiograph"}
    return {**answer(path), "status": "refused", "gate": gate, "label": None, "probability": None, "logodds": None}


def failure(path: str, kind: str = "empty", *, sha256: str | None = None) -> dict[str, Any]:
    """An input that could not be answered."""
    error = {"kind": kind, "message": f"{path}: is {kind}; send it again", "problem": f"is {kind}"}
    return {
        "schema": 2,
        "path": path,
        "status": "error",
        "error": {**error, "cure": "send it again"},
        "sha256": sha256,
        "parameters": "0123456789abcdef",
        "time": "2026-01-02T03:04:05.678+00:00",
    }
