"""The key figures of the bundle that comes with the package, on the sample radiographs.

``PYTHONPATH=tests python -m shipped`` writes them to tests/data/shipped.json: only after a change that is meant to
change them, such as another network. tests/test_shipped_bundle.py holds the bundle to them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import cxr_edge

DATA = Path(__file__).parent / "data"
FILE = DATA / "shipped.json"
TARGET = "PNEUMONIA"
TOP = 3


def figures_of(path: Path, model: cxr_edge.Model, int8: cxr_edge.Model) -> dict[str, Any]:
    """What is held of one radiograph: plain JSON.

    Args:
        path: The radiograph.
        model: The bundle in float32, on the CPU, without its gate's verdict.
        int8: The same in int8.
    """
    explanation = model.explain(path, target=TARGET, lime=cxr_edge.LimeOptions(seed=0, samples=64))
    saliency, lime, evidence = explanation.saliency, explanation.lime, explanation.evidence
    assert saliency is not None
    assert lime is not None
    assert evidence is not None
    peak = np.unravel_index(int(saliency.raw.argmax()), saliency.raw.shape)
    prediction = explanation.answer.prediction
    return {
        "label": prediction.label,
        "logodds": _rounded(prediction.logodds),
        "logodds_int8": _rounded(int8.predict(path).prediction.logodds),
        "gradcam_peak": [int(place) for place in peak],
        "gradcam_at_peak": _rounded(saliency.raw.max()),
        "superpixels": lime.superpixels.count,
        "lime_top": np.argsort(-lime.coefficients)[:TOP].tolist(),
        "lungs_share": _rounded(evidence.lungs_share),
        "gradcam_in_lungs": _rounded(evidence.saliency),
    }


def gate_scores(paths: list[Path]) -> dict[str, float]:
    """The gate's score of each radiograph, by name."""
    gated = cxr_edge.load(provider="cpu")
    return {path.name: _rounded(gated.predict(path).prediction.gate_score) for path in paths}


def samples() -> list[Path]:
    """Every sample radiograph that needs no further decoder."""
    return sorted((DATA / "radiographs").iterdir())


def measure() -> dict[str, Any]:
    """All of it: the bundle's name and the figures by radiograph."""
    model, int8 = (cxr_edge.load(provider="cpu", precision=precision, gate=False) for precision in ("fp32", "int8"))
    scores = gate_scores(samples())
    return {
        "bundle": model.bundle.manifest.name,
        "radiographs": {
            path.name: {**figures_of(path, model, int8), "gate_score": scores[path.name]} for path in samples()
        },
    }


def _rounded(value: Any) -> float:
    return float(f"{value:.6g}")


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=1) + "\n", "utf-8")
