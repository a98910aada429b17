"""The lung segmenter in a bundle: converted, proved equal to Keras, put beside the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.reference import GOLDEN_FILE
from cxr_edge.runtime.self_test import TOLERANCE
from cxr_edge.runtime.sessions import open_session
from cxr_export.errors import ParityError, RunError
from cxr_export.folders import changing
from cxr_export.graphs import convert
from cxr_export.run import load_network, read_json
from cxr_export.simplify import simplify

LUNG_FILE = "lungs.onnx"
ARCH = "lung_segmenter"
_FILES = ("model.keras", "run.json", "metrics.json")


@dataclass(frozen=True)
class LungReport:
    """What was added to the bundle.

    Attributes:
        dice: Mean Dice coefficient as training measured it.
        measured_on: On which radiographs.
        difference: Largest difference to Keras, as a share of the largest output.
        images: On how many inputs that was measured.
        bytes: Size of the file.
    """

    dice: float
    measured_on: str
    difference: float
    images: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The printed form."""
        return vars(self)


def add_lungs(bundle: Bundle, *, run: Path) -> LungReport:
    """Adds a lung segmenter to a bundle, or replaces the one it has.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        run: A folder that ``cxr-train lungs`` wrote.

    Raises:
        RunError: The run is not finished, of another network, or for another input size.
        ConversionError: An operator has no counterpart in ONNX.
        ParityError: ONNX Runtime does not answer as Keras does; the bundle stays as it was.
    """
    missing = [name for name in _FILES if not (run / name).is_file()]
    if missing:
        raise RunError(f"{run}: {', '.join(missing)} missing; expected a run written by cxr-train lungs --out {run}")
    record, metrics = read_json(run / "run.json"), read_json(run / "metrics.json")
    if record.get("arch") != ARCH:
        raise RunError(f"{run}: holds a {record.get('arch')}; expected a run written by cxr-train lungs")
    network = load_network(run / "model.keras")
    spec = bundle.manifest.input
    if network.input_shape[1:] != (spec.height, spec.width):
        raise RunError(
            f"{run}: outlines lungs of {network.input_shape[1:]} pixels, the bundle takes {spec.height, spec.width}"
        )
    model = simplify(lung_graph(network)).SerializeToString()
    with np.load(bundle.path(GOLDEN_FILE)) as golden:
        inputs = golden["inputs"].astype(np.float32)
    difference = _difference(network, model, inputs)
    if not difference <= TOLERANCE:
        raise ParityError(f"lungs differ by {difference:.2g} of the largest value from Keras, allowed {TOLERANCE:g}")

    held_out = metrics["validation"]
    report = LungReport(
        dice=held_out["all"]["dice"]["value"],
        measured_on=f"{held_out['all']['images']} radiographs of patients it was not trained on",
        difference=difference,
        images=len(inputs),
        bytes=len(model),
    )
    with changing(bundle) as (folder, values):
        (folder / LUNG_FILE).write_bytes(model)
        values["lungs"] = {
            "file": LUNG_FILE,
            "dice": report.dice,
            "measured_on": report.measured_on,
            "training": {**record, "metrics": metrics},
        }
    return report


def lung_graph(network: Any) -> onnx.ModelProto:
    """Radiographs to lungs.

    Input ``pixels`` float32 [N, H, W] in 0..255. Output ``lungs`` float32 [N, h, w], the log-odds of lung.

    Raises:
        ConversionError: An operator has no counterpart in ONNX.
    """

    def outline(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"lungs": network(pixels, training=False)}

    return convert(outline, [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, "pixels")])


def _difference(network: Any, model: bytes, inputs: NDArray[np.float32]) -> float:
    expected = np.asarray(network(inputs, training=False))
    found = open_session(model, provider="cpu").run({"pixels": inputs}, ["lungs"])[0]
    return float(np.abs(found - expected).max() / np.abs(expected).max())
