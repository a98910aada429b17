"""From a run to a bundle: graphs, golden answers, manifest and model card."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import PREPROCESSING, SCHEMA
from cxr_edge.runtime.reference import GOLDEN_FILE, ReferenceInputs
from cxr_edge.runtime.self_test import Comparison, self_test
from cxr_export.dataset import Dataset
from cxr_export.errors import ParityError
from cxr_export.folders import check_replaceable, replacing, seal
from cxr_export.graphs import classifier_graph, gradcam_graph
from cxr_export.parity import keras_answers
from cxr_export.radiographs import LABELS, noise, read_split
from cxr_export.run import Run
from cxr_export.simplify import simplify

_GOLDEN_IMAGES = 12
_GOLDEN_NOISE = 2
_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime", "numpy", "cxr-edge")


def write_bundle(
    run: Run, out: Path, *, data: Path, split: str, dataset: Dataset, version: str, force: bool = False
) -> tuple[Bundle, Comparison]:
    """Exports a run.

    Args:
        run: A loaded run.
        out: The bundle's folder.
        data: The Kaggle folder, for the radiographs in ``golden.npz``.
        split: Which of its folders they come from.
        dataset: What the network was trained on.
        version: The bundle's version.
        force: Replaces a bundle that is there.

    Returns:
        The bundle, and how far its answers on this machine are from Keras'.

    Raises:
        UsageError: ``out`` exists and may not be replaced.
        ConversionError: An operator has no counterpart in ONNX.
        ParityError: The bundle does not answer as Keras does; nothing was written.
    """
    check_replaceable(out, force=force)
    radiographs = read_split(data, split, size=run.input_size, count=_GOLDEN_IMAGES).pixels
    with replacing(out) as folder:
        (folder / "classifier.onnx").write_bytes(simplify(classifier_graph(run)).SerializeToString())
        (folder / "gradcam.onnx").write_bytes(simplify(gradcam_graph(run)).SerializeToString())
        inputs = np.rint(np.concatenate([radiographs, noise(_GOLDEN_NOISE, size=run.input_size)]))
        reference = ReferenceInputs(inputs.astype(np.float32), np.arange(len(inputs)) % 2)
        answers = keras_answers(run, reference).to_arrays()
        arrays = {"inputs": inputs.astype(np.uint8), "target": reference.target, **answers}
        np.savez_compressed(folder / GOLDEN_FILE, **arrays)
        seal(folder, _describe(run, dataset, version), dataset)
        report = self_test(Bundle.open(folder))
        if report.faults:
            raise ParityError(f"the exported graphs do not answer as Keras does: {'; '.join(report.faults)}")
    return Bundle.open(out), report


def _describe(run: Run, dataset: Dataset, version: str) -> dict[str, Any]:
    height, width = run.input_size
    tuned = run.record.get("weights") not in (None, "none")
    return {
        "schema": SCHEMA,
        "name": f"pneumonia-{run.record.get('arch', 'network')}",
        "version": version,
        "labels": list(LABELS),
        "positive": LABELS[1],
        "input": {"name": "pixels", "height": height, "width": width, "dtype": "float32", "range": [0, 255]},
        "preprocessing": PREPROCESSING,
        "features": dict(zip(("height", "width", "channels"), run.features, strict=True)),
        "calibration": run.calibration,
        "operating_points": run.operating_points,
        "precisions": {"fp32": {"file": "classifier.onnx"}},
        "training": {**run.record, "metrics": run.metrics},
        "tools": _tools(),
        "licence": f"MIT{' (fine-tuned from the MobileNet weights of Keras, Apache-2.0)' if tuned else ''}",
        "data": dataset.to_json(),
        "scope": None if dataset.scope is None else dataset.scope.to_json(),
    }


def _tools() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # tensorflow and tensorflow-cpu stand for each other
            continue
    return found
