"""A gate in a bundle: it refuses inputs that are no chest radiographs, and is learned from radiographs alone.

It looks at the spatial means of the channels half-way down the classifier: the last layers have learned to see two
classes and little else, and photographs land among the radiographs there. The score is the Mahalanobis distance (Lee et
al. 2018) of low rank: the covariance of the standardised channels is taken as its leading principal directions with one
common variance for all others (Tipping and Bishop 1999). It needs fewer radiographs than channels, and a file of less
than a megabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.runtime.networks import DESCRIPTOR
from cxr_edge.runtime.sessions import open_session
from cxr_export.bundle import changing
from cxr_export.edits import IR_VERSION, answer, describing_tensors, with_descriptor
from cxr_train.dataset import Images, Sample, find_samples, read_images, spread
from cxr_train.perturbations import varied
from cxr_train.split import Split, stored_split

GATE_FILE = "gate.onnx"
IMAGES = (1500, 500)
"""Radiographs learned from and held out: with their copies about twice as many as channels; more cost time only."""
HELD_OUT = 0.25
"""Share of the patients, where the network learned from none of them."""
QUANTILE = 0.995
MARGIN = 1.2
"""Room above that quantile for devices and ages that neither the radiographs nor their copies stand for."""
RANK = 128
_FLOOR = 0.05
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Distance:
    """The distribution of the descriptors of radiographs.

    Attributes:
        mean: float32 [D].
        scale: float32 [D]: the channels' standard deviations, no smaller than a share of their mean.
        directions: float32 [D, K]: the leading principal directions of the standardised channels.
        variances: float32 [K]: the variances along them.
        rest: The mean variance along all others.
    """

    mean: Floats
    scale: Floats
    directions: Floats
    variances: Floats
    rest: float

    @classmethod
    def of(cls, descriptors: Floats) -> Distance:
        """Learns it from the descriptors of radiographs, float32 [N, D]; K is 128, or less where N or D is small."""
        count, width = descriptors.shape
        mean, deviation = descriptors.mean(0, np.float64), descriptors.std(0, dtype=np.float64)
        # A channel that is silent on radiographs must neither divide by zero nor outweigh all others.
        scale = deviation + _FLOOR * deviation.mean() + 1e-6
        standard = (descriptors - mean) / scale
        values, vectors = np.linalg.eigh(standard.T @ standard / count)
        values, vectors = np.maximum(values[::-1], 1e-6), vectors[:, ::-1]
        rank = max(1, min(RANK, width // 2, count // 4))
        return cls(
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            directions=vectors[:, :rank].astype(np.float32),
            variances=values[:rank].astype(np.float32),
            rest=float(values[rank:].mean()) if width > rank else 1.0,
        )

    def graph(self) -> onnx.ModelProto:
        """Writes ``gate.onnx``: ``descriptor`` float32 [N, D] → ``score`` float32 [N], ≥ 0.

        score² = (Σ_k p_k² / variance_k + (|z|² - |p|²) / rest) / D with the standardised descriptor z and
        p = z · directions: about 1 for a radiograph like those it was learned from.
        """
        model = onnx.parser.parse_model(_SCORE.replace("WIDTH", str(len(self.mean))))
        values = {**vars(self), "rest": np.float32(self.rest), "width": np.float32(len(self.mean))}
        constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
        model.graph.initializer.extend(constants)
        onnx.checker.check_model(model, full_check=True)
        return model


_SCORE = f"""<ir_version: {IR_VERSION}, opset_import: ["" : 18], producer_name: "cxr-export">
gate (float[N, WIDTH] {DESCRIPTOR}) => (float[N] score)
<int64[1] channels = {{1}}>
{{
    centred = Sub({DESCRIPTOR}, mean)
    standard = Div(centred, scale)
    within = MatMul(standard, directions)
    within_squared = Mul(within, within)
    within_relative = Div(within_squared, variances)
    within_sum = ReduceSum <keepdims = 0> (within_relative, channels)
    whole = ReduceSumSquare <keepdims = 0> (standard, channels)
    explained = ReduceSum <keepdims = 0> (within_squared, channels)
    residual = Sub(whole, explained)
    positive = Relu(residual)
    residual_relative = Div(positive, rest)
    sum = Add(within_sum, residual_relative)
    squared = Div(sum, width)
    score = Sqrt(squared)
}}"""


@dataclass(frozen=True)
class GateReport:
    """What was learned and chosen.

    Attributes:
        learned_from: Radiographs, with one varied copy of each.
        held_out: Radiographs of other patients, with one varied copy of each, that the threshold was chosen on.
        width: Channels that are looked at.
        rank: Principal directions among them.
        threshold: Scores above it are refused.
        refused: Share of the held-out radiographs and copies that are refused, by precision.
        bytes: Size of the gate's file.
    """

    learned_from: int
    held_out: int
    width: int
    rank: int
    threshold: float
    refused: dict[str, float]
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The printed form."""
        return vars(self)


def add_gate(bundle: Bundle, *, data: Path) -> GateReport:
    """Adds a gate to a bundle, or replaces the one it has.

    It is learned from radiographs of ``data/train`` whose patients the classifier learned from, and its threshold is
    chosen on radiographs of held-out patients. Every classifier of the bundle gets the output that the gate looks at.
    An int8 classifier that is added later inherits it.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The Kaggle folder.

    Raises:
        UsageError: The folder has too few patients to hold some out.
        ConversionError: The classifier has no convolution.
    """
    manifest = bundle.manifest
    learned, held_out = learned_and_held_out(bundle, data, counts=IMAGES)
    radiographs = _with_copies(learned + held_out, height=manifest.input.height, width=manifest.input.width)
    chosen = set(held_out)
    held = np.array([sample in chosen for sample in radiographs.samples])
    tensors = describing_tensors(bundle.model(manifest.precisions["fp32"].file))
    models = {name: with_descriptor(bundle.model(each.file), tensors) for name, each in manifest.precisions.items()}
    found = {name: answer(model, radiographs.pixels, [DESCRIPTOR])[0] for name, model in models.items()}
    distance = Distance.of(found["fp32"][~held])
    gate = distance.graph().SerializeToString()
    threshold = MARGIN * float(np.quantile(_scores(gate, found["fp32"][held]), QUANTILE))
    report = GateReport(
        learned_from=int((~held).sum()) // 2,
        held_out=int(held.sum()) // 2,
        width=len(distance.mean),
        rank=len(distance.variances),
        threshold=threshold,
        refused={name: float((_scores(gate, each[held]) > threshold).mean()) for name, each in found.items()},
        bytes=len(gate),
    )
    with changing(bundle) as (folder, values):
        for name, model in models.items():
            (folder / manifest.precisions[name].file).write_bytes(model)
        (folder / GATE_FILE).write_bytes(gate)
        values["gate"] = {
            "file": GATE_FILE,
            "threshold": threshold,
            "method": f"Mahalanobis distance, {report.rank} principal directions of the spatial means of"
            f" {report.width} channels in the middle of the network, learned from {report.learned_from} radiographs"
            " of the train folder and one varied copy of each",
            "chosen_on": f"{report.held_out} radiographs of other patients of the train folder and one varied copy of"
            f" each: {MARGIN:g} times the score that {QUANTILE:.1%} of them stay below",
        }
    return report


def learned_and_held_out(bundle: Bundle, data: Path, *, counts: tuple[int, int]) -> tuple[list[Sample], list[Sample]]:
    """Radiographs to learn from and radiographs of other patients, as the classifier's own training split them.

    Args:
        bundle: An opened bundle.
        data: The Kaggle folder; its train folder is read.
        counts: How many of each at most.

    Raises:
        UsageError: The folder has too few patients to hold some out.
    """
    samples = find_samples(data, ["train"])
    split = stored_split(bundle)
    sides = split.sides(samples) if split else None
    if sides is None or not (sides.learned or sides.held_out):
        seed = bundle.manifest.training.get("seed")
        sides = Split.of(samples, seed=seed if isinstance(seed, int) else 0, fraction=HELD_OUT).sides(samples)
    if not sides.learned or not sides.held_out:
        raise UsageError("a gate needs radiographs of at least 2 patients of the train folder, one of them held out")
    learned, held_out = (
        spread(each, count) for each, count in zip((sides.learned, sides.held_out), counts, strict=True)
    )
    return learned, held_out


def _with_copies(samples: list[Sample], *, height: int, width: int) -> Images:
    """Decodes radiographs; behind them stands one varied copy of each."""
    images = read_images(samples, height=height, width=width)
    pixels = np.concatenate([images.pixels, varied(images.pixels, seed=0)])
    return Images(images.samples * 2, pixels, images.unreadable, np.tile(images.sizes, (2, 1)))


def _scores(gate: bytes, of: NDArray[np.float32]) -> NDArray[np.float32]:
    return open_session(gate, provider="cpu", threads=1).run({DESCRIPTOR: of}, ["score"])[0]
