"""A small output folder of a scan: answers, warnings, failures, hostile names, pictures for some."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from records import BUNDLE, answer, failure, refusal

PROBABILITIES = (0.02, 0.97, 0.5, 0.61, 0.99999)

DESCRIPTION = {
    "schema": 2,
    "engine": "local",
    "bundle": BUNDLE,
    "provider": "cpu",
    "precision": "fp32",
    "operating_point": "youden",
    "gate": True,
    "batch_size": 1,
    "explain": "gradcam",
    "explain_if": "positive",
    "test_time_augmentation": False,
    "parameters": "0123456789abcdef",
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 12.5,
    "pictures": True,
    "point": {
        "criterion": "largest recall + specificity",
        "chosen_on": "590 radiographs",
        "recall": 0.961,
        "specificity": 0.943,
        "tested": 290,
        "test_recall": [0.99, 0.98, 1.0],
        "test_specificity": [0.71, 0.62, 0.79],
    },
}
RECORDS = (
    failure("in/retried.png", "missing-decoder"),  # answered further below: this record no longer counts
    answer("in/a10.png", PROBABILITIES[0]),
    answer("in/a9.png", PROBABILITIES[1], warnings=["Very narrow."]),
    {**answer("in/copy of a9.png", PROBABILITIES[1]), "sha256": answer("in/a9.png")["sha256"]},
    failure("in/empty.png", "empty"),
    answer("in/\udcff\n.png", PROBABILITIES[2]),
    answer("=HYPERLINK(1)</script><img src=x onerror=boom()>.png", PROBABILITIES[3]),
    failure("in/cut.png", "truncated"),
    failure("in/cut2.png", "truncated"),
    answer("in/retried.png", PROBABILITIES[4]),
    refusal("in/cat.png"),
)


@pytest.fixture
def scanned(tmp_path: Path) -> Path:
    """The folder; the last line of its journal is cut off as by a crash."""
    lines = [json.dumps(record) for record in RECORDS]
    (tmp_path / "results.jsonl").write_text("\n".join([*lines, '{"schema":1,"path":"in/half']), encoding="ascii")
    (tmp_path / "scan.json").write_text(json.dumps(DESCRIPTION))
    for record in RECORDS:
        if record["status"] != "error":
            folder = tmp_path / "assets" / str(record["sha256"])[:2] / str(record["sha256"])
            folder.mkdir(parents=True, exist_ok=True)
            names = ["thumbnail.jpg", "radiograph.jpg"]
            if record["label"] == "PNEUMONIA":
                names += ["gradcam.jpg", "gradcam.png", "lungs.png"]
            for name in names:
                cv2.imwrite(str(folder / name), np.full((20, 30, 3), 90, np.uint8))
    return tmp_path
