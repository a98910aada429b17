"""Everything that makes a bundle, written to one side and put in place in one step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.bundle import Bundle, write_manifest
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.golden import GOLDEN_FILE, Comparison, self_test
from cxr_edge.manifest import PREPROCESSING, SCHEMA, Manifest
from cxr_export.card import model_card
from cxr_export.dataset import Dataset
from cxr_export.errors import ParityError
from cxr_export.graphs import classifier_graph, gradcam_graph
from cxr_export.parity import keras_answers
from cxr_export.radiographs import LABELS, noise, read_split
from cxr_export.run import Run
from cxr_export.simplify import simplify

CARD_FILE = "MODEL_CARD.md"
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
        expected = keras_answers(run, inputs.astype(np.float32))
        np.savez_compressed(folder / GOLDEN_FILE, inputs=inputs.astype(np.uint8), **vars(expected))
        seal(folder, _describe(run, dataset, version), dataset)
        report = self_test(Bundle.open(folder))
        if report.faults:
            raise ParityError(f"the exported graphs do not answer as Keras does: {'; '.join(report.faults)}")
    return Bundle.open(out), report


def seal(folder: Path, values: dict[str, Any], dataset: Dataset) -> Manifest:
    """Writes the model card and the manifest of a folder that holds all the other files."""
    (folder / CARD_FILE).touch()
    draft = write_manifest(folder, values)
    (folder / CARD_FILE).write_text(model_card(draft, dataset), "utf-8")
    return write_manifest(folder, values)


def check_replaceable(out: Path, *, force: bool) -> None:
    """Refuses an output folder before any work is done.

    Raises:
        UsageError: There is something and ``force`` is not set, or what is there is no bundle.
    """
    if not out.exists():
        return
    if not (out / "manifest.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists and is no bundle; name another folder with --out")
    if not force and any(out.iterdir()):
        raise UsageError(f"{out}: exists; replace it with --force or name another folder with --out")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Gives a folder to fill; it takes the place of ``out`` when the block ends well and vanishes otherwise."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}); name another folder with --out") from error
    aside = temporary.with_name(f"{temporary.name}.old")
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes folders that nobody else may enter
        if out.exists():
            out.rename(aside)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


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
        "data": vars(dataset),
    }


def _tools() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # tensorflow and tensorflow-cpu stand for each other
            continue
    return found


def dataset_of(bundle: Bundle) -> Dataset:
    """What a bundle says it was trained on.

    Raises:
        BundleError: The manifest lacks a part of it.
    """
    try:
        return Dataset(**bundle.manifest.data)
    except TypeError as error:
        raise BundleError(f"{bundle.folder}: manifest.json: data: {error}; export the bundle again") from error
