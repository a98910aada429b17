"""What a bundle is given after its export: another calibration, lungs, its split, an audit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Calibration
from cxr_edge.errors import UsageError
from cxr_edge.runtime.reference import GOLDEN_FILE, read_reference
from cxr_edge.runtime.self_test import TOLERANCE
from cxr_edge.runtime.sessions import open_session
from cxr_export.bundle import ParityError, changing
from cxr_export.card import still_true
from cxr_export.edits import answer, fold_constants, simplify, with_calibration
from cxr_train.dataset import find_samples
from cxr_train.runs import Run, RunError, read_json, write_json
from cxr_train.split import SPLIT_FILE, Split, derive_split

LUNG_FILE = "lungs.onnx"
LUNG_ARCH = "lung_segmenter"
_AUDIT_SCHEMA = 1
_PREPARED = "classifier.prepared.onnx"


def recalibrate(bundle: Bundle, path: Path) -> Calibration:
    """Puts what ``cxr-train calibrate --bundle`` chose into the bundle, whose folder is replaced in one step.

    Everything that was measured at the old operating point is dropped: int8 (``cxr-export quantize`` makes it
    again), the losses (``cxr-export losses``) and an audit.

    Args:
        bundle: An opened bundle.
        path: The JSON file; it belongs to exactly this bundle.

    Raises:
        UsageError: The file is damaged or belongs to another bundle.
        ConversionError: A classifier does not end in sigmoid(scale · log-odds + bias).
    """
    try:
        chosen = read_json(path)
        calibration = Calibration(**chosen["calibration"])
        points, metrics, owner = chosen["operating_points"], chosen["metrics"], chosen["bundle"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: {error!r}; expected a file of cxr-train calibrate --bundle") from error
    if owner != bundle.digest:
        raise UsageError(f"{path}: was chosen for another bundle ({owner[:12]}), not for {bundle.digest[:12]}")
    with changing(bundle) as (folder, values):
        fp32 = bundle.manifest.precisions["fp32"].file
        (folder / fp32).write_bytes(with_calibration(bundle.model(fp32), calibration))
        for name in bundle.manifest.precisions.keys() - {"fp32"}:
            file = values["precisions"].pop(name)["file"]
            if file != fp32:  # bf16 has none of its own
                (folder / file).unlink()
        with np.load(folder / GOLDEN_FILE) as stored:
            golden: dict[str, Any] = dict(stored)
        odds = np.float64(golden["logodds"]) * calibration.scale + calibration.bias
        golden["probability"] = (1 / (1 + np.exp(-odds))).astype(np.float32)
        np.savez_compressed(folder / GOLDEN_FILE, **golden)
        values |= {"calibration": chosen["calibration"], "operating_points": points, "audit": None}
        values["training"] = {**values["training"], "metrics": metrics}
    return calibration


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
    from cxr_export.convert import lung_graph  # TensorFlow takes seconds to import

    opened = Run.open(run, command="lungs")
    if opened.record.get("arch") != LUNG_ARCH:
        raise RunError(f"{run}: holds a {opened.record.get('arch')}; expected a run written by cxr-train lungs")
    network, metrics, spec = opened.network, opened.metrics, bundle.manifest.input
    if network.input_shape[1:] != (spec.height, spec.width):
        raise RunError(
            f"{run}: outlines lungs of {network.input_shape[1:]} pixels, the bundle takes {spec.height, spec.width}"
        )
    model = simplify(lung_graph(network)).SerializeToString()
    with np.load(bundle.path(GOLDEN_FILE)) as golden:
        inputs = golden["inputs"]
    expected = np.asarray(network(inputs.astype(np.float32), training=False))
    difference = float(np.abs(answer(model, inputs, ["lungs"])[0] - expected).max() / np.abs(expected).max())
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
            "training": {**opened.record, "metrics": metrics},
        }
    return report


def add_split(bundle: Bundle, *, data: Path) -> Split:
    """Has a bundle that was exported before splits were stored state which patients were held out.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The folder that it was trained on.

    Raises:
        UsageError: The folder gives another number of images or patients than the training recorded.
    """
    split = derive_split(bundle.manifest.training, find_samples(data), bundle.folder)
    with changing(bundle) as (folder, _):
        write_json(folder / SPLIT_FILE, split.to_json())
    return split


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
        audit = read_json(path)
        if (audit["kind"], audit["schema"]) != ("audit", _AUDIT_SCHEMA):
            raise UsageError(f"{path}: {audit['kind']!r} of schema {audit['schema']!r}; expected an audit of schema 1")
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


def upgrade_bundle(bundle: Bundle, *, version: str) -> Bundle:
    """Writes a bundle anew, with the present schema and with everything that the self-test can check.

    The first release's bundles carry a graph that was prepared for one kind of processor, and kernels in its order.
    That graph is left out, and the kernels get their usual order again.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        version: Its new version.

    Raises:
        ParityError: A classifier would answer otherwise than before; nothing was written.
    """
    file = bundle.manifest.precisions["fp32"].file
    before = bundle.model(file)
    after = _with_usual_kernels(before)
    _check(before, after, read_reference(bundle)[0].inputs)
    with changing(bundle) as (folder, values):
        (folder / file).write_bytes(after)
        (folder / _PREPARED).unlink(missing_ok=True)
        values["version"] = version
        if values["audit"] is not None:
            # The answers are the same to the bit: what an audit found holds for the new file as well.
            audited = values["audit"]["files"]
            audited.pop(_PREPARED, None)
            if audited.get(file) == hashlib.sha256(before).hexdigest():
                audited[file] = hashlib.sha256(after).hexdigest()
    return Bundle.open(bundle.folder)


def _with_usual_kernels(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    stored = {tensor.name for tensor in model.graph.initializer}
    if all(node.input[1] in stored for node in model.graph.node if node.op_type == "Conv"):
        return data
    return bytes(fold_constants(model).SerializeToString())


def _check(before: bytes, after: bytes, inputs: NDArray[np.float32]) -> None:
    old, new = (open_session(each, provider="cpu") for each in (before, after))
    names = [output.name for output in old.inference.get_outputs()]
    both = (session.run({"pixels": inputs}, names) for session in (old, new))
    for name, *values in zip(names, *both, strict=True):
        if not np.array_equal(*values):
            raise ParityError(f"the upgraded classifier gives another {name} than the one that is there")
