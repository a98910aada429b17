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
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import PreparedSpec
from cxr_edge.bundle.prepared import Prepared, block_size
from cxr_edge.errors import UsageError
from cxr_edge.runtime.self_test import GOLDEN_FILE
from cxr_edge.runtime.sessions import open_session
from cxr_export.blocks import aligned, fold, unfolded
from cxr_export.errors import ParityError
from cxr_export.folders import changing
from cxr_export.simplify import IR_VERSION, add_first

GRAPH_FILE = "classifier.prepared.onnx"
_LAYOUT = "com.microsoft.nchwc"
_SMALL = 128  # bytes that stay in the graph


@dataclass(frozen=True)
class Preparation:
    """What was prepared.

    Attributes:
        block: Channels side by side in the weights; 0 where none were laid out.
        onnxruntime: The version that made it.
        graph_bytes: Size of the graph.
        shared_bytes: Size of the weights that it takes out of the classifier's own file.
    """

    block: int
    onnxruntime: str
    graph_bytes: int
    shared_bytes: int

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
    with changing(bundle) as (folder, values):
        (folder / GRAPH_FILE).unlink(missing_ok=True)
        model = unfolded(before)
        add_first(model.graph)
        made = prepare(model, folder, file) if blocks else None
        if made is None:
            (folder / file).write_bytes(model.SerializeToString())
        general = (folder / file).read_bytes()
        _check(bundle, before, general)
        spec = None
        if made is not None:
            _check(bundle, before, general, made)
            digest = hashlib.sha256(general).hexdigest()
            spec = vars(PreparedSpec(GRAPH_FILE, file, made.block, made.version, digest))
        values["precisions"]["fp32"]["prepared"] = spec
    if made is None:
        return Preparation(0, ort.__version__, 0, 0)
    shared = sum(_place(tensor)[1] for tensor in onnx.load_from_string(made.graph).graph.initializer)
    return Preparation(made.block, made.version, len(made.graph), shared)


def prepare(model: onnx.ModelProto, folder: Path, file: str) -> Prepared:
    """Optimises a network for this processor.

    Args:
        model: The network; changed, so that its kernels lie as the optimised one takes them.
        folder: Where to write it and the optimised graph.
        file: The name to write it under.

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
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in optimised.graph.node}
    opsets = [helper.make_opsetid(each.domain, each.version) for each in optimised.opset_import]
    del optimised.opset_import[:]
    optimised.opset_import.extend(each for each in opsets if each.domain in used)
    fold(model, optimised, block)
    data = aligned(model, _SMALL)
    optimised.graph.initializer.sort(key=lambda tensor: tensor.name)  # ONNX Runtime writes them in any order
    for tensor in optimised.graph.initializer:
        value = numpy_helper.to_array(tensor).tobytes()
        offset = data.find(value) if len(value) >= _SMALL else -1
        if offset >= 0:
            for field in ("raw_data", "float_data"):
                tensor.ClearField(field)
            tensor.data_location = TensorProto.EXTERNAL
            for key, entry in (("location", file), ("offset", offset), ("length", len(value))):
                tensor.external_data.add(key=key, value=str(entry))
    (folder / file).write_bytes(data)
    (folder / GRAPH_FILE).write_bytes(optimised.SerializeToString())
    return Prepared((folder / GRAPH_FILE).read_bytes(), folder, block, ort.__version__)


def probe() -> bytes:
    """Makes the model that `cxr_edge.bundle.prepared` asks for the block size: it has no onnx to make it with."""
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


def _place(tensor: onnx.TensorProto) -> tuple[int, int]:
    """Offset and length of what lies in another file; 0 and 0 where nothing does."""
    found = {entry.key: entry.value for entry in tensor.external_data}
    return int(found.get("offset", 0)), int(found.get("length", 0))
