"""A bundle's folder: made from a run, compared with Keras, and changed in one way only.

Every command that writes a bundle fills a folder to one side, has it pass its own test, and lets it take the place of
the old one in one step.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.bundle.manifest import PREPROCESSING, SCHEMA
from cxr_edge.errors import CxrEdgeError, UsageError
from cxr_edge.runtime.reference import GOLDEN_FILE, Outputs, ReferenceInputs, read_reference
from cxr_edge.runtime.self_test import Comparison, compare, compute_outputs, self_test
from cxr_edge.runtime.sessions import onnxruntime
from cxr_export.card import model_card
from cxr_train.dataset import LABELS, Dataset, dataset_of, find_samples, noise, read_images, spread
from cxr_train.runs import write_json
from cxr_train.split import SPLIT_FILE

if TYPE_CHECKING:
    from cxr_export.convert import Exportable

CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
_GOLDEN_IMAGES, _GOLDEN_NOISE = 12, 2
_PARITY_IMAGES, _PARITY_NOISE = 64, 8
_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime", "numpy", "cxr-edge")
_OURS = ("gate_score", "scope_score", "lungs", "layercam", "hirescam")
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


class ParityError(CxrEdgeError):
    """A network in a bundle answers differently from Keras, or its map does not depend on the input."""

    kind = "parity"


def write_bundle(
    network: Exportable, out: Path, *, data: Path, split: str, dataset: Dataset, version: str, force: bool = False
) -> tuple[Bundle, Comparison]:
    """Exports a run.

    Args:
        network: The trained classifier.
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
    from cxr_export.convert import classifier_graph, gradcam_graph  # TensorFlow takes seconds to import
    from cxr_export.edits import simplify

    check_replaceable(out, force=force)
    height, width = network.input_size
    samples = spread(find_samples(data, [split]), _GOLDEN_IMAGES)
    radiographs = read_images(samples, height=height, width=width).inputs
    with _replacing(out) as folder:
        (folder / "classifier.onnx").write_bytes(simplify(classifier_graph(network)).SerializeToString())
        (folder / "gradcam.onnx").write_bytes(simplify(gradcam_graph(network)).SerializeToString())
        inputs = np.concatenate([radiographs, noise(_GOLDEN_NOISE, size=network.input_size)])
        reference = ReferenceInputs(inputs, np.arange(len(inputs)) % 2)
        _write_reference(folder, inputs.astype(np.uint8), reference, keras_answers(network, reference))
        if network.run.split is not None:
            write_json(folder / SPLIT_FILE, network.run.split.to_json())
        report = _seal(folder, _describe(network, dataset, version), dataset)
    return Bundle.open(out), report


def keras_answers(network: Exportable, reference: ReferenceInputs) -> Outputs:
    """What the trained network says, with gradients and maps from the definition (Selvaraju et al. 2017).

    Other than in the exported graph, the tape goes through the average pooling as well, so that the two ways to
    the gradient check each other.
    """
    import keras  # seconds to import
    import tensorflow as tf

    trained = network.run.network
    tail = keras.Model(network.body.outputs[0], trained.outputs[0])
    parts = []
    for batch in reference.batches():
        logits = trained(batch.inputs, training=False).numpy()
        logodds = logits[:, 1] - logits[:, 0]
        probability = 1 / (1 + np.exp(-(np.float64(logodds) * network.scale + network.bias)))
        features = network.body(batch.inputs, training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = tf.gather(tail(features, training=False), batch.target, axis=1, batch_dims=1)
        gradients = tape.gradient(score, features)
        weights = tf.reduce_mean(gradients, (1, 2), keepdims=True)
        activation = tf.nn.relu(tf.reduce_sum(weights * features, -1))
        parts.append(Outputs(logodds, probability.astype(np.float32), gradients.numpy(), activation.numpy()))
    return Outputs.join(parts)


def verify(bundle: Bundle, network: Exportable, *, data: Path, split: str = "test") -> Comparison:
    """Compares a bundle with the run it was made from, on radiographs and on noise, for both classes.

    Args:
        bundle: An opened bundle.
        network: The trained classifier.
        data: The Kaggle folder.
        split: Which of its folders the 64 radiographs come from.
    """
    height, width = network.input_size
    real = read_images(spread(find_samples(data, [split]), _PARITY_IMAGES), height=height, width=width).inputs
    inputs = np.repeat(np.concatenate([real, noise(_PARITY_NOISE, size=network.input_size)]), 2, axis=0)
    reference = ReferenceInputs(inputs, np.arange(len(inputs)) % 2)
    found, provider = compute_outputs(bundle, reference)
    return compare(reference, keras_answers(network, reference), found, provider=provider)


def check_replaceable(out: Path, *, force: bool) -> None:
    """Refuses an output folder before any work is done.

    Raises:
        UsageError: There is something and ``force`` is not set, what is there is no bundle, or other files lie in it.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        files = {*json.loads((out / MANIFEST_FILE).read_bytes())["files"], MANIFEST_FILE}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{out}: exists and is no bundle; name another folder with --out") from error
    if not force:
        raise UsageError(f"{out}: exists; replace it with --force or name another folder with --out")
    if foreign := sorted(path.name for path in out.iterdir() if path.name not in files):
        raise UsageError(f"{out}: {foreign[0]} is no part of the bundle there and would be lost; move it elsewhere")


@contextmanager
def changing(bundle: Bundle) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The one way to change a bundle: gives a copy of its folder and its manifest's values to change.

    When the block ends well, the model card and the manifest are written, the copy has to pass its own test, and it
    takes the bundle's place in one step. Otherwise the bundle stays as it was.

    Args:
        bundle: An opened bundle.

    Yields:
        The copy's folder, and the content of its manifest; a file that is removed there leaves the bundle.

    Raises:
        BundleError: The manifest lacks a part of what the model card needs.
        UsageError: Files that the manifest does not name lie in the folder, or it cannot be written.
        ParityError: The changed bundle does not answer as Keras did.
    """
    dataset = dataset_of(bundle)
    check_replaceable(bundle.folder, force=True)
    with _replacing(bundle.folder) as folder:
        for name, data in bundle.contents.items():
            (folder / name).write_bytes(data)
        values = bundle.manifest.to_json()
        yield folder, values
        _seal(folder, values, dataset)


def _seal(folder: Path, values: dict[str, Any], dataset: Dataset) -> Comparison:
    """Adds what the self-test expects, the card and the manifest to a folder with all the other files, and tests it."""
    (folder / CARD_FILE).touch()
    write_manifest(folder, values)
    values = {**values, "self_test": _complete_self_test(Bundle.open(folder))}
    draft = write_manifest(folder, values)
    (folder / CARD_FILE).write_text(model_card(draft, dataset), "utf-8")
    write_manifest(folder, values)
    report = self_test(Bundle.open(folder))
    if report.faults:
        raise ParityError(f"the bundle would not answer as Keras does: {'; '.join(report.faults)}; nothing was written")
    return report


def _complete_self_test(bundle: Bundle) -> dict[str, Any]:
    """Adds what the gate and the lung segmenter answer to what the self-test expects.

    Gives the manifest's ``self_test``.
    """
    reference, expected = read_reference(bundle)
    found, _ = compute_outputs(bundle, reference)
    expected = replace(expected, **{name: getattr(found, name) for name in _OURS})
    with np.load(bundle.path(GOLDEN_FILE)) as stored:
        inputs = stored["inputs"]  # in the type that they are stored in: whole grey levels are small
    _write_reference(bundle.folder, inputs, reference, expected)
    training = f"Keras {bundle.manifest.tools.get('keras', 'of an unknown version')}, at export"
    here = f"ONNX Runtime {onnxruntime.__version__}, float32 on the CPU, from the networks of this bundle"
    by = {name: here if name in _OURS else training for name in expected.to_arrays()}
    return {"file": GOLDEN_FILE, "computed_by": by}


def _write_reference(folder: Path, inputs: NDArray[Any], reference: ReferenceInputs, expected: Outputs) -> None:
    arrays: dict[str, Any] = {"inputs": inputs, "target": reference.target, **expected.to_arrays()}
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Gives a folder to fill; it takes the place of ``out`` when the block ends well and vanishes otherwise."""
    out = out.resolve()  # a link to a bundle stays a link
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}); name another folder with --out") from error
    try:
        yield temporary
        temporary.chmod(out.stat().st_mode if out.exists() else 0o755)  # mkdtemp's may be entered by its owner only
        for path in (*temporary.iterdir(), temporary):
            _flush(path)
        if out.exists():
            _exchange(temporary, out)
        else:
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    """Brings a file or folder to the disk, so that a power failure behind the exchange loses nothing."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(new: Path, old: Path) -> None:
    """Lets two folders change places: in one step where the system can (renameat2 of Linux), else in two."""
    if sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if rename and not rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE):
            return
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)


def _describe(network: Exportable, dataset: Dataset, version: str) -> dict[str, Any]:
    run = network.run
    height, width = network.input_size
    tuned = run.record.get("weights") not in (None, "none")
    return {
        "schema": SCHEMA,
        "name": f"pneumonia-{run.record.get('arch', 'network')}",
        "version": version,
        "labels": list(LABELS),
        "positive": LABELS[1],
        "input": {"name": "pixels", "height": height, "width": width, "dtype": "float32", "range": [0, 255]},
        "preprocessing": PREPROCESSING,
        "features": dict(zip(("height", "width", "channels"), network.features, strict=True)),
        "calibration": run.calibration["calibration"],
        "operating_points": run.calibration["operating_points"],
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
        with suppress(metadata.PackageNotFoundError):  # tensorflow and tensorflow-cpu stand for each other
            found[package] = metadata.version(package)
    return found
