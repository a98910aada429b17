"""The inputs that a bundle carries for its self-test, with the outputs that its networks gave when it was made.

``golden.npz`` holds, by name:

- ``inputs`` [N, height, width] in 0..255 and ``target`` int64 [N], the class whose map is asked for;
- ``logodds``, ``probability``, ``gradients`` and ``map`` as in `Outputs`, computed by the training framework;
- where the bundle has a gate, ``gate_score`` and perhaps ``scope_score``; where it has a lung segmenter, ``lungs`` for
  the first inputs; where it has LayerCAM, ``layercam`` and ``hirescam``.

The manifest says under ``self_test`` what each was computed by.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError

GOLDEN_FILE = "golden.npz"
LUNG_INPUTS = 4
"""Of so many inputs, the first ones, the outline of the lungs is compared: an outline is as large as an input."""
MOST_INPUTS = 256
_CHUNK = 16
_LARGEST = 2**29  # bytes that golden.npz may hold when it is unpacked
_Numbers = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ReferenceInputs:
    """Inputs, each with the class to explain.

    Attributes:
        inputs: float32 [N, height, width] in 0..255.
        target: int64 [N], a class index.
    """

    inputs: _Numbers
    target: NDArray[np.int64]

    def batches(self) -> "list[ReferenceInputs]":
        """Cut them into pieces that fit into memory whatever their number."""
        starts = range(0, len(self.inputs), _CHUNK)
        return [ReferenceInputs(self.inputs[i : i + _CHUNK], self.target[i : i + _CHUNK]) for i in starts]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the float32 networks of a bundle give for N inputs.

    Attributes:
        logodds: float32 [N], uncalibrated.
        probability: float32 [N], calibrated, 0..1.
        gradients: float32 [N, h, w, channels]: d logit of the target / d features.
        map: float32 [N, h, w], ≥ 0: the class activation map of the target.
        gate_score: float32 [N]; None where there is no gate.
        scope_score: float32 [N]; None where the gate does not tell the scope.
        lungs: float32 [min(N, `LUNG_INPUTS`), h, w], log-odds of lung; None where there is no lung segmenter.
        layercam: float32 [N, 2, P], see `cxr_edge.runtime.networks.open_layercam`; None where there is none.
        hirescam: float32 [N, P]; the same.
    """

    logodds: _Numbers
    probability: _Numbers
    gradients: _Numbers
    map: _Numbers
    gate_score: _Numbers | None = None
    scope_score: _Numbers | None = None
    lungs: _Numbers | None = None
    layercam: _Numbers | None = None
    hirescam: _Numbers | None = None

    @classmethod
    def join(cls, parts: "Sequence[Outputs]") -> "Outputs":
        """Put the outputs of several batches behind one another."""
        values = {name: [getattr(part, name) for part in parts] for name in cls.__dataclass_fields__}
        return cls(**{name: np.concatenate(each) for name, each in values.items() if each[0] is not None})

    def to_arrays(self) -> dict[str, _Numbers]:
        """Give those that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def read_reference(bundle: Bundle) -> tuple[ReferenceInputs, Outputs]:
    """Read the inputs and the expected outputs that a bundle carries.

    Raises:
        BundleError: There are none, or they are damaged or of shapes that do not fit the manifest.
    """
    path, data = bundle.path(GOLDEN_FILE), bundle.model(GOLDEN_FILE)
    try:
        values = _unpack(data)
        reference = ReferenceInputs(_numbers(values["inputs"]), _targets(values["target"]))
        expected = Outputs(**{name: _numbers(values[name]) for name in Outputs.__dataclass_fields__ if name in values})
        _check_shapes(bundle, reference, expected)
    except Exception as error:  # a damaged archive raises anything
        problem = f"not the inputs and answers expected ({ascii(error)[:200]})"
        raise BundleError(problem, cure="export the bundle again", path=path) from error
    return reference, expected


def _unpack(data: bytes) -> Mapping[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _LARGEST:
        raise ValueError(f"{size} bytes unpacked, expected at most {_LARGEST}")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return dict(stored)


def _check_shapes(bundle: Bundle, reference: ReferenceInputs, expected: Outputs) -> None:
    spec, map_ = bundle.manifest.input, bundle.manifest.features
    cells = (
        sum(layer.height * layer.width for layer in bundle.manifest.layercam.layers) if bundle.manifest.layercam else 0
    )
    count = len(reference.inputs)
    if not 0 < count <= MOST_INPUTS:
        raise ValueError(f"{count} inputs, expected 1 to {MOST_INPUTS}")
    shapes: dict[str, tuple[int, ...]] = {
        "inputs": (count, spec.height, spec.width),
        "target": (count,),
        "logodds": (count,),
        "probability": (count,),
        "gradients": (count, map_.height, map_.width, map_.channels),
        "map": (count, map_.height, map_.width),
        "gate_score": (count,),
        "scope_score": (count,),
        "layercam": (count, 2, cells),
        "hirescam": (count, cells),
    }
    for name, value in {**vars(reference), **vars(expected)}.items():
        if value is not None and value.shape != shapes.get(name, value.shape):
            raise ValueError(f"{name} has the shape {value.shape}, expected {shapes[name]}")
    lungs = expected.lungs
    if lungs is not None and (lungs.ndim != 3 or len(lungs) != min(count, LUNG_INPUTS)):
        raise ValueError(f"lungs has the shape {lungs.shape}, expected one outline for each of the first inputs")


def _numbers(value: NDArray[Any]) -> _Numbers:
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise ValueError("values that are no finite numbers")
    return value.astype(np.float32)


def _targets(value: NDArray[Any]) -> NDArray[np.int64]:
    if value.dtype.kind not in "iu" or not np.isin(value, (0, 1)).all():
        raise ValueError("targets that are no class index")
    return value.astype(np.int64)
