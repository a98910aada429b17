"""An int8 classifier in a bundle, with what it costs against fp32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sklearn.metrics import roc_auc_score

from cxr_edge.bundle.bundle import Bundle
from cxr_export.folders import changing
from cxr_export.quantisation import answers, quantize
from cxr_export.radiographs import Radiographs, read_split
from cxr_export.simplify import fold_constants

INT8_FILE = "classifier.int8.onnx"
CALIBRATION_IMAGES = 128


@dataclass(frozen=True)
class Loss:
    """What int8 costs against fp32.

    Attributes:
        images: How many radiographs it was measured on.
        measured_on: Which ones.
        calibrated_on: Which ones gave the ranges.
        mean_logodds_error: Mean absolute difference of the uncalibrated log-odds.
        max_logodds_error: Largest one.
        label_agreement: Share of equal labels at the default operating point.
        auroc_difference: int8 less fp32; None where only one label is present.
        float_layers: Convolutions that stay in float.
    """

    images: int
    measured_on: str
    calibrated_on: str
    mean_logodds_error: float
    max_logodds_error: float
    label_agreement: float
    auroc_difference: float | None
    float_layers: list[str]

    def to_json(self) -> dict[str, Any]:
        """The manifest's form."""
        return vars(self)


def quantize_bundle(bundle: Bundle, *, data: Path, split: str = "test") -> Loss:
    """Adds an int8 classifier to a bundle, or replaces the one it has; calibrated on ``data/train``.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The Kaggle folder.
        split: Which of its folders the loss is measured on.

    Raises:
        ConversionError: The classifier has nothing to quantise.
    """
    manifest = bundle.manifest
    size = (manifest.input.height, manifest.input.width)
    calibration = read_split(data, "train", size=size, count=CALIBRATION_IMAGES)
    fp32 = bundle.model(manifest.precisions["fp32"].file)
    int8, float_layers = quantize(fold_constants(onnx.load_from_string(fp32)).SerializeToString(), calibration.pixels)
    test = read_split(data, split, size=size)
    loss = _loss(bundle, fp32, int8, test, split=split, calibrated=len(calibration.pixels), float_layers=float_layers)
    with changing(bundle) as (folder, values):
        (folder / INT8_FILE).write_bytes(int8)
        values["precisions"]["int8"] = {"file": INT8_FILE, "loss": loss.to_json()}
    return loss


def _loss(
    bundle: Bundle,
    fp32: bytes,
    int8: bytes,
    test: Radiographs,
    *,
    split: str,
    calibrated: int,
    float_layers: list[str],
) -> Loss:
    manifest = bundle.manifest
    threshold = manifest.operating_points.points[manifest.operating_points.default].threshold
    (before, p_before), (after, p_after) = (answers(model, test.pixels) for model in (fp32, int8))
    error = np.abs(after - before)
    auroc = None
    if len(set(test.labels.tolist())) == 2:
        auroc = float(roc_auc_score(test.labels, after) - roc_auc_score(test.labels, before))
    return Loss(
        images=len(error),
        measured_on=f"the {split} folder",
        calibrated_on=f"{calibrated} radiographs of the train folder",
        mean_logodds_error=float(error.mean()),
        max_logodds_error=float(error.max()),
        label_agreement=float(((p_before >= threshold) == (p_after >= threshold)).mean()),
        auroc_difference=auroc,
        float_layers=float_layers,
    )
