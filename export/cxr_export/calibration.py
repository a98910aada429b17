"""Another calibration in a bundle that is there: the scale inside its graph, the thresholds and figures beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Calibration
from cxr_edge.errors import UsageError
from cxr_edge.runtime.reference import GOLDEN_FILE
from cxr_export.errors import ConversionError
from cxr_export.folders import dataset_of, replacing, seal
from cxr_export.simplify import drop_unused, set_constant


def recalibrate(bundle: Bundle, path: Path) -> Calibration:
    """Puts what ``cxr-train calibrate --bundle`` chose into the bundle, whose folder is replaced in one step.

    Everything that was measured at the old operating point is dropped: the loss of int8 (``cxr-export quantize``
    measures it again) and an audit.

    Args:
        bundle: An opened bundle.
        path: The JSON file; it belongs to exactly this bundle.

    Raises:
        UsageError: The file is damaged or belongs to another bundle.
        ConversionError: A classifier does not end in sigmoid(scale · log-odds + bias).
    """
    try:
        chosen = json.loads(path.read_text("utf-8"))
        calibration = Calibration(**chosen["calibration"])
        points, metrics, owner = chosen["operating_points"], chosen["metrics"], chosen["bundle"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: {error!r}; expected a file of cxr-train calibrate --bundle") from error
    if owner != bundle.digest:
        raise UsageError(f"{path}: was chosen for another bundle ({owner[:12]}), not for {bundle.digest[:12]}")
    values = bundle.manifest.to_json()
    values |= {"calibration": chosen["calibration"], "operating_points": points, "audit": None}
    values["training"] = {**values["training"], "metrics": metrics}
    values["precisions"].pop("int8", None)
    dropped = {each.file for name, each in bundle.manifest.precisions.items() if name == "int8"}
    dataset = dataset_of(bundle)
    with replacing(bundle.folder) as folder:
        for name in set(bundle.manifest.files) - dropped:
            shutil.copyfile(bundle.folder / name, folder / name)
        fp32 = bundle.manifest.precisions["fp32"].file
        (folder / fp32).write_bytes(with_calibration(bundle.model(fp32), calibration))
        with np.load(folder / GOLDEN_FILE) as stored:
            golden: dict[str, Any] = dict(stored)
        odds = np.float64(golden["logodds"]) * calibration.scale + calibration.bias
        golden["probability"] = (1 / (1 + np.exp(-odds))).astype(np.float32)
        np.savez_compressed(folder / GOLDEN_FILE, **golden)
        seal(folder, values, dataset)
    return calibration


def with_calibration(data: bytes, calibration: Calibration) -> bytes:
    """Gives a classifier graph another scale and bias.

    Args:
        data: A classifier with the outputs ``logodds`` and ``probability``.
        calibration: What to put in.

    Raises:
        ConversionError: Between the two lies something else than a product, at most a sum, and a sigmoid.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    chain: list[onnx.NodeProto] = []
    name = "probability"
    while name != "logodds" and name in producers and len(chain) < 3:
        chain.insert(0, producers[name])
        name = chain[0].input[0]
    if name != "logodds" or [node.op_type for node in chain] not in (["Mul", "Sigmoid"], ["Mul", "Add", "Sigmoid"]):
        found = [node.op_type for node in chain]
        raise ConversionError(f"the probability comes from the log-odds by {found}, expected Mul, Add and Sigmoid")
    for node in chain:
        graph.node.remove(node)
    scaled, shifted = "calibrated/scaled", "calibrated/shifted"
    multiply = helper.make_node("Mul", ["logodds", ""], [scaled])
    add = helper.make_node("Add", [scaled, ""], [shifted])
    steps = [multiply, add] if calibration.bias else [multiply]
    graph.node.extend([*steps, helper.make_node("Sigmoid", [steps[-1].output[0]], ["probability"])])
    set_constant(graph, graph.node[-1 - len(steps)], 1, np.array(calibration.scale))
    if calibration.bias:
        set_constant(graph, graph.node[-2], 1, np.array(calibration.bias))
    drop_unused(graph)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
