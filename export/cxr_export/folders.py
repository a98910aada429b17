"""A bundle's folder: filled to one side, sealed, and put in place in one step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.bundle.manifest import Manifest
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.runtime.reference import GOLDEN_FILE, read_reference
from cxr_edge.runtime.self_test import compute_outputs
from cxr_edge.runtime.sessions import onnxruntime
from cxr_export.card import model_card
from cxr_export.dataset import Dataset

CARD_FILE = "MODEL_CARD.md"


def seal(folder: Path, values: dict[str, Any], dataset: Dataset) -> Manifest:
    """Completes the self-test of a folder that holds all the other files, and writes its model card and manifest."""
    (folder / CARD_FILE).touch()
    write_manifest(folder, values)
    values = {**values, "self_test": _complete_self_test(Bundle.open(folder))}
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


@contextmanager
def changing(bundle: Bundle) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives a copy of a bundle's folder and its manifest's values to change.

    Sealed and put in the bundle's place when the block ends well; otherwise nothing happens.

    Raises:
        BundleError: The manifest lacks a part of what the model card needs.
    """
    dataset = dataset_of(bundle)
    with replacing(bundle.folder) as folder:
        for name in bundle.manifest.files:
            shutil.copyfile(bundle.folder / name, folder / name)
        values = bundle.manifest.to_json()
        yield folder, values
        seal(folder, values, dataset)


def dataset_of(bundle: Bundle) -> Dataset:
    """What a bundle says it was trained on.

    Raises:
        BundleError: The manifest lacks a part of it.
    """
    try:
        return Dataset(**bundle.manifest.data, scope=bundle.manifest.scope)
    except TypeError as error:
        raise BundleError(f"{bundle.folder}: manifest.json: data: {error}; export the bundle again") from error


def _complete_self_test(bundle: Bundle) -> dict[str, Any]:
    """Adds what the gate and the lung segmenter answer to what the self-test expects.

    Returns:
        The manifest's ``self_test``.
    """
    reference, expected = read_reference(bundle)
    found, _ = compute_outputs(bundle, reference)
    expected = replace(expected, gate_score=found.gate_score, lungs=found.lungs)
    with np.load(bundle.path(GOLDEN_FILE)) as stored:
        inputs = stored["inputs"]  # in the type that they are stored in: whole grey levels are small
    arrays = {"inputs": inputs, "target": reference.target, **expected.to_arrays()}
    np.savez_compressed(bundle.path(GOLDEN_FILE), **arrays)
    training = f"Keras {bundle.manifest.tools.get('keras', 'of an unknown version')}, at export"
    here = f"ONNX Runtime {onnxruntime.__version__}, float32 on the CPU, from the networks of this bundle"
    by = {name: here if name in {"gate_score", "lungs"} else training for name in expected.to_arrays()}
    return {"file": GOLDEN_FILE, "computed_by": by}
