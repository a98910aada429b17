"""A gate in a bundle: what refuses inputs that are no chest radiographs, learned from radiographs alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.runtime.sessions import open_session
from cxr_export.distance import Distance
from cxr_export.folders import changing
from cxr_export.radiographs import read_split
from cxr_export.taps import describing_tensors, descriptors, with_descriptor
from cxr_export.variations import varied

GATE_FILE = "gate.onnx"
IMAGES = 2000
"""Radiographs read from the train folder: with their copies about twice as many as channels; more cost time only."""
HELD_OUT = 0.25
QUANTILE = 0.995
MARGIN = 1.2
"""Room above that quantile for devices and ages that neither the radiographs nor their copies stand for."""


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
    """Adds a gate to a bundle, or replaces the one it has; learned from and chosen on ``data/train``.

    Every classifier of the bundle gets the output that the gate looks at. An int8 classifier that is added later
    inherits it.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The Kaggle folder.

    Raises:
        UsageError: The folder has too few patients to hold some out.
        ConversionError: The classifier has no convolution.
    """
    manifest = bundle.manifest
    radiographs = read_split(data, "train", size=(manifest.input.height, manifest.input.width), count=IMAGES)
    held = hold_out(radiographs.names)
    tensors = describing_tensors(bundle.model(manifest.precisions["fp32"].file))
    models = {name: with_descriptor(bundle.model(each.file), tensors) for name, each in manifest.precisions.items()}
    copies = varied(radiographs.pixels, seed=0)
    both = np.concatenate([descriptors(models["fp32"], each) for each in (radiographs.pixels, copies)])
    twice = np.concatenate([held, held])
    distance = Distance.of(both[~twice])
    gate = distance.graph().SerializeToString()
    threshold = MARGIN * float(np.quantile(_scores(gate, both[twice]), QUANTILE))
    refused = {
        name: float(
            np.mean(
                [_scores(gate, descriptors(model, each[held])) > threshold for each in (radiographs.pixels, copies)]
            )
        )
        for name, model in models.items()
    }
    report = GateReport(
        learned_from=int((~held).sum()),
        held_out=int(held.sum()),
        width=len(distance.mean),
        rank=len(distance.variances),
        threshold=threshold,
        refused=refused,
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


def hold_out(names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Chooses a quarter of the patients, evenly spaced; what a file name has before its last number is the patient.

    Returns:
        bool [N], True for the files of those patients.

    Raises:
        UsageError: All files are of one patient.
    """
    patients = [re.sub(r"[-_][^-_]*$", "", Path(name).stem) for name in names]
    known = sorted(set(patients))
    if len(known) < 2:
        raise UsageError(f"the train folder holds {len(known)} patient; a gate needs at least 2, one of them held out")
    chosen = set(known[1 :: round(1 / HELD_OUT)])
    return np.array([patient in chosen for patient in patients])


def _scores(gate: bytes, of: NDArray[np.float32]) -> NDArray[np.float32]:
    return open_session(gate, provider="cpu", threads=1).run({"descriptor": of}, ["score"])[0]
