"""A bundle's float32 classifier as ONNX Runtime optimises it for this kind of processor, for a quicker start."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from cxr_edge.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.golden import GOLDEN_FILE
from cxr_edge.manifest import PreparedSpec
from cxr_edge.prepared import Prepared, block_size
from cxr_edge.sessions import open_session
from cxr_export.errors import ParityError
from cxr_export.folders import changing
from cxr_export.simplify import IR_VERSION, add_first

GRAPH_FILE = "classifier.prepared.onnx"
WEIGHTS_FILE = "classifier.prepared.weights"
_LAYOUT = "com.microsoft.nchwc"
_SMALL = 128  # bytes that stay in the graph


@dataclass(frozen=True)
class Preparation:
    """What was prepared.

    Attributes:
        block: Channels side by side in the weights; 0 where none were laid out.
        onnxruntime: The version that made it.
        graph_bytes: Size of the graph.
        weights_bytes: Size of the weights.
    """

    block: int
    onnxruntime: str
    graph_bytes: int
    weights_bytes: int

    def to_json(self) -> dict[str, object]:
        """For people and scripts."""
        return vars(self)


def prepare_bundle(bundle: Bundle, *, blocks: bool = True) -> Preparation:
    """Adds the prepared classifier to a bundle, or replaces it; every command that changes the classifier voids it.

    A classifier of an older export also gets what `add_first` gains, without the run that it came from.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        blocks: Whether to add the prepared classifier; False leaves it, or takes it away.

    Raises:
        UsageError: ONNX Runtime has no layout of its own on this processor.
        ParityError: A new classifier answers otherwise than the one that is there; nothing was written.
    """
    file = bundle.manifest.precisions["fp32"].file
    before = bundle.model(file)
    model = onnx.load_from_string(before)
    general = bytes(model.SerializeToString()) if add_first(model.graph) else before
    with changing(bundle) as (folder, values):
        (folder / file).write_bytes(general)
        _check(bundle, before, general)
        for name in (GRAPH_FILE, WEIGHTS_FILE):
            (folder / name).unlink(missing_ok=True)
        values["precisions"]["fp32"]["prepared"] = None
        if not blocks:
            return Preparation(0, ort.__version__, 0, 0)
        made = prepare(general, folder)
        _check(bundle, before, general, made)
        spec = PreparedSpec(
            graph=GRAPH_FILE,
            weights=WEIGHTS_FILE,
            block=made.block,
            onnxruntime=made.version,
            made_from=hashlib.sha256(general).hexdigest(),
        )
        values["precisions"]["fp32"]["prepared"] = vars(spec)
        sizes = (folder / GRAPH_FILE).stat().st_size, (folder / WEIGHTS_FILE).stat().st_size
    return Preparation(made.block, made.version, *sizes)


def prepare(model: bytes, folder: Path) -> Prepared:
    """Optimises a network for this processor.

    Args:
        model: An ONNX file.
        folder: Where to write the graph and its weights.

    Raises:
        UsageError: ONNX Runtime has no layout of its own on this processor.
    """
    block = block_size(ort)
    if not block:
        raise UsageError("ONNX Runtime lays no weights out in blocks on this processor: there is nothing to prepare")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as name:
        options.optimized_model_filepath = os.fspath(Path(name) / "all.onnx")
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in optimised.graph.node}
    opsets = [helper.make_opsetid(each.domain, each.version) for each in optimised.opset_import]
    del optimised.opset_import[:]
    optimised.opset_import.extend(each for each in opsets if each.domain in used)
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)  # onnx appends
    convert_model_to_external_data(optimised, location=WEIGHTS_FILE, size_threshold=_SMALL)
    onnx.save(optimised, folder / GRAPH_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)  # onnx lets nobody else read it
    return Prepared((folder / GRAPH_FILE).read_bytes(), folder, block, ort.__version__)


def probe() -> bytes:
    """Makes the model that `cxr_edge.prepared` asks for the block size: it has no onnx to make it with."""
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=_LAYOUT)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, 1, 1]) for name, c in (("x", 8), ("y", "c"))
    ]
    graph = helper.make_graph([node], "block size", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_LAYOUT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cxr-export")
    return bytes(model.SerializeToString())


def _check(bundle: Bundle, before: bytes, after: bytes, made: Prepared | None = None) -> None:
    with np.load(bundle.path(GOLDEN_FILE)) as golden:
        pixels = {"pixels": golden["inputs"].astype(np.float32)}
    old, new = open_session(before, provider="cpu"), open_session(after, provider="cpu", prepared=made)
    names = [output.name for output in old.inference.get_outputs()]
    for name, *values in zip(names, *(session.run(pixels, names) for session in (old, new)), strict=True):
        if not np.array_equal(*values):
            raise ParityError(f"the prepared classifier gives another {name} than the one that is there")
