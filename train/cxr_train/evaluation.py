"""A trained run against a split: calibrated, measured with intervals, drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.manifest import Calibration
from cxr_edge.errors import InputError
from cxr_edge.files import write_atomically
from cxr_train.calibration import calibrated, fit_temperature, label_trust, operating_points
from cxr_train.dataset import Images
from cxr_train.fit import MODEL_FILE, Validation, logodds
from cxr_train.metrics import bootstrapped, by_group, confusion, figures
from cxr_train.perturbations import variants
from cxr_train.plots import evaluation_figures

CALIBRATION_FILE = "calibration.json"
METRICS_FILE = "metrics.json"
RUN_FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """A run folder with a trained network in it.

    Attributes:
        path: The folder.
        network: The Keras model.
        settings: ``run.json``.
    """

    path: Path
    network: Any
    settings: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Run:
        """Loads a run.

        Raises:
            InputError: The folder is not one that ``cxr-train fit`` wrote, or holds no checkpoint yet.
        """
        for name in (RUN_FILE, MODEL_FILE):
            if not (path / name).is_file():
                raise InputError(
                    f"{path}: has no {name}; expected a folder written by cxr-train fit --out",
                    kind="not-found",
                )
        return cls(path, keras.saving.load_model(path / MODEL_FILE, compile=False), read_json(path / RUN_FILE))


def calibrate(run: Run, validation: Validation) -> None:
    """Chooses the temperature and the operating points on the held-out radiographs and their perturbed copies."""
    chosen = choose(lambda images: logodds(run.network, images), validation)
    write_json(run.path / CALIBRATION_FILE, chosen)


def choose(score: Callable[[NDArray[np.uint8]], NDArray[np.float32]], validation: Validation) -> dict[str, Any]:
    """Chooses the temperature and the operating points of any network.

    Args:
        score: Images uint8 [N, H, W] → uncalibrated log-odds [N].
        validation: Radiographs of patients that it did not learn from.

    Returns:
        ``calibration`` and ``operating_points``, in the manifest's form.
    """
    scores = np.stack([score(images) for images in variants(validation.pixels)])
    copies = len(scores) - 1
    chosen_on = (
        f"{len(validation.labels)} radiographs of held-out training patients and {copies} perturbed copies of each"
    )
    calibration = fit_temperature(scores, validation.labels, chosen_on=chosen_on)
    points = operating_points(
        calibrated(calibration, scores),
        validation.labels,
        chosen_on=chosen_on,
        trust=label_trust(scores.mean(axis=0), validation.labels),
    )
    return {"calibration": calibration.to_json(), "operating_points": points}


def evaluate(run: Run, images: Images, *, split: str) -> dict[str, Any]:
    """Measures a run on images, adds the figures to its ``metrics.json`` under the split's name, and draws them.

    Args:
        run: With its calibration already chosen.
        images: What to measure on.
        split: Their name.

    Returns:
        What was added.
    """
    chosen = read_json(run.path / CALIBRATION_FILE)
    scores = logodds(run.network, images.pixels)
    result = measure(scores, images, chosen)
    path = run.path / METRICS_FILE
    write_json(path, {**(read_json(path) if path.is_file() else {}), split: result})
    evaluation_figures(
        images.labels,
        calibrated(Calibration(**chosen["calibration"]), scores),
        np.array(result["confusion"]),
        result["metrics"],
        threshold=result["threshold"],
        folder=run.path,
        split=split,
    )
    return result


def measure(
    scores: NDArray[np.float32], images: Images, chosen: Mapping[str, Any], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measures log-odds against the truth at the default operating point.

    Args:
        scores: Uncalibrated log-odds of PNEUMONIA, [N].
        images: What they were given for.
        chosen: From `choose`.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        The figures of one split as they stand in ``metrics.json``.
    """
    name = chosen["operating_points"]["default"]
    threshold = chosen["operating_points"]["points"][name]["threshold"]
    labels, probability = images.labels, calibrated(Calibration(**chosen["calibration"]), scores)
    estimates = bootstrapped(labels, probability, images.patients, threshold, resamples=resamples, seed=seed)
    return {
        "images": {"NORMAL": int((labels == 0).sum()), "PNEUMONIA": int((labels == 1).sum())},
        "patients": len(set(images.patients)),
        "operating_point": name,
        "threshold": threshold,
        "metrics": {key: estimate.to_json() for key, estimate in estimates.items()},
        "confusion": confusion(labels, probability, threshold).tolist(),
        "interval": f"95 %, {resamples} bootstrap samples of patients, seed {seed}",
        "by_family": by_group(
            [sample.family for sample in images.samples],
            lambda rows: {
                "images": int(rows.sum()),
                "accuracy": figures(labels[rows], probability[rows], threshold)["accuracy"],
            },
        ),
    }


def read_json(path: Path) -> Any:
    """Parses a JSON file of a run."""
    return json.loads(path.read_text("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file of a run, whole or not at all."""
    write_atomically(path, json.dumps(value, indent=2).encode() + b"\n")
