"""The scope of a bundle: whose radiographs its network knows, told from the descriptor that the gate looks at.

A logistic regression separates training patients, as they are and as copies that another device might have made, from
radiographs of elsewhere. The copies matter: fitted on clean files alone it would learn the sharpness of one device and
refuse every blurred child. It learned a few sources: it is no meter of age, and a hospital that resembles the training
hospital may pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_edge.runtime.networks import DESCRIPTOR, ELSEWHERE
from cxr_export.bundle import changing
from cxr_export.edits import answer
from cxr_export.gate import Floats, learned_and_held_out
from cxr_train.augmentation import Augmentation, augment
from cxr_train.dataset import read_images
from cxr_train.evaluation import QUANTILES
from cxr_train.perturbations import PERTURBATIONS

SCOPE_IMAGES = (4000, 1200)
"""Radiographs learned from and held out, at most."""
COPIES = Augmentation(
    rotation=8,
    scale=0.1,
    shift=0.08,
    exposure=0.3,
    equalise=0.3,
    resolution=0.3,
    blur=0.3,
    noise=0.3,
    markers=0.3,
    borders=0.3,
)
"""The same radiograph as another device of the training hospital might have sent it."""
ROUNDS = 2  # varied copies of each radiograph that is learned from
PENALTY = 0.1
"""Inverse strength of the ridge: of 0.0001 to 10 the one that let fewest pass of a source left out. A linear
discriminant is no better (NIH 5.9 % at 1.4 % of children refused; here 3.9 at 1.0 %), a kernel machine worse."""
FALSE_REFUSALS = 0.03
"""Share of the held-out radiographs and their varied copies that the threshold refuses. At 0.015 one in six radiographs
of a hospital that was left out got a label; single changes (blur, borders, noise) are refused far less often."""
FORMER = "scope/"
_FLOOR = 0.05
_PATIENT = re.compile(r"^(\d{8})_\d{3}$")  # NIH ChestX-ray14: patient and follow-up number


@dataclass(frozen=True, eq=False)
class ScopeModel:
    """Log-odds of coming from elsewhere = (descriptor - mean) / scale · weights + bias.

    Attributes:
        mean: float32 [D].
        scale: float32 [D], positive.
        weights: float32 [D].
        bias: A number.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    @classmethod
    def of(cls, known: Floats, elsewhere: Floats) -> ScopeModel:
        """Learns it from descriptors float32 [N, D] of what the network knows and of what it does not.

        Both weigh as much, however many there are of each.
        """
        from sklearn.linear_model import LogisticRegression

        mean, deviation = known.mean(0, np.float64), known.std(0, dtype=np.float64)
        scale = deviation + _FLOOR * deviation.mean() + 1e-6
        both = (np.concatenate([known, elsewhere]) - mean) / scale
        labels = np.repeat([0, 1], [len(known), len(elsewhere)])
        fitted = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=500).fit(both, labels)
        return cls(
            mean.astype(np.float32),
            scale.astype(np.float32),
            fitted.coef_[0].astype(np.float32),
            float(fitted.intercept_[0]),
        )

    def scores(self, descriptors: Floats) -> Floats:
        """Gives float32 [N]."""
        return np.asarray((descriptors - self.mean) / self.scale @ self.weights + np.float32(self.bias), np.float32)

    def added_to(self, gate: bytes) -> bytes:
        """Gives a gate's graph the output ``elsewhere``, float32 [N]; replaces one that is there."""
        model = onnx.load_from_string(gate)
        graph = model.graph
        for entries in (graph.node, graph.initializer, graph.output):
            for entry in [each for each in entries if each.name.startswith(FORMER) or each.name == ELSEWHERE]:
                entries.remove(entry)
        weights = self.weights / self.scale  # folded: one product instead of three passes
        bias = np.float32(self.bias - np.dot(self.mean.astype(np.float64), weights.astype(np.float64)))
        for name, value in (("weights", weights), ("bias", bias)):
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, np.float32), FORMER + name))
        product, total = FORMER + "product", FORMER + "sum"
        graph.node.extend(
            [
                onnx.helper.make_node("MatMul", [DESCRIPTOR, FORMER + "weights"], [product], name=product),
                onnx.helper.make_node("Add", [product, FORMER + "bias"], [ELSEWHERE], name=total),
            ]
        )
        graph.output.append(onnx.helper.make_tensor_value_info(ELSEWHERE, onnx.TensorProto.FLOAT, ["N"]))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


@dataclass(frozen=True)
class ScopeReport:
    """What was learned, chosen and measured.

    Attributes:
        learned_from: Radiographs of training patients, with two varied copies each.
        held_out: Of other patients, likewise; the threshold was chosen on them.
        sources: Radiographs by source of elsewhere.
        threshold: Log-odds above it get no label.
        refused: Share of held-out radiographs that are refused, by kind of copy.
        labelled: Share of each source that gets a label, where half of its patients were learned from; of the others.
        labelled_unseen: The same where nothing of that source was learned from.
        scores: Those of the held-out radiographs as they are, at `QUANTILES`.
    """

    learned_from: int
    held_out: int
    sources: dict[str, int]
    threshold: float
    refused: dict[str, float]
    labelled: dict[str, float]
    labelled_unseen: dict[str, float]
    scores: list[float]

    def to_json(self) -> dict[str, Any]:
        """The printed form."""
        return vars(self)


def add_scope(bundle: Bundle, *, data: Path, elsewhere: Sequence[Path]) -> ScopeReport:
    """Has a bundle give no label to radiographs that are not like those that its network learned from.

    Args:
        bundle: An opened bundle with a gate; its folder is replaced in one step.
        data: The Kaggle folder.
        elsewhere: One folder a source: radiographs of other hospitals, and other pictures that must get no label.

    Raises:
        UsageError: The bundle has no gate, or a folder holds no readable radiograph.
    """
    manifest = bundle.manifest
    if manifest.gate is None:
        raise UsageError(f"{bundle.folder}: has no gate; run cxr-export gate first")
    describe = _Describer(bundle)
    learned, held_out = learned_and_held_out(bundle, data, counts=SCOPE_IMAGES)
    size = manifest.input.height, manifest.input.width
    known = _copies(describe, read_images(learned, height=size[0], width=size[1]).pixels, seed=0)
    held_pixels = read_images(held_out, height=size[0], width=size[1]).pixels
    held = _copies(describe, held_pixels, seed=1)
    sources = {folder.name: _Source.read(folder, describe, size=size) for folder in elsewhere}

    model = ScopeModel.of(known, np.concatenate([each.all for each in sources.values()]))
    threshold = _threshold(model, held)
    kinds = {"as they are": held_pixels} | {
        name: np.stack([change(image) for image in held_pixels]) for name, change in PERTURBATIONS.items()
    }
    report = ScopeReport(
        learned_from=len(learned),
        held_out=len(held_out),
        sources={name: len(each.clean) for name, each in sources.items()},
        threshold=threshold,
        refused={name: _share(model, describe(pixels), above=threshold) for name, pixels in kinds.items()},
        labelled=_labelled_other_half(known, held, sources),
        labelled_unseen=_labelled_unseen(known, held, sources),
        scores=np.quantile(model.scores(describe(held_pixels)), QUANTILES).tolist(),
    )
    gate = bundle.model(manifest.gate.file)
    with changing(bundle) as (folder, values):
        (folder / manifest.gate.file).write_bytes(model.added_to(gate))
        values["gate"] = {**values["gate"], "scope": _describe(report)}
    return report


def _describe(report: ScopeReport) -> dict[str, Any]:
    sources = ", ".join(f"{count} of {name}" for name, count in report.sources.items())
    return {
        "threshold": report.threshold,
        "method": f"logistic regression on the gate's descriptor: {report.learned_from} radiographs of training"
        f" patients and {ROUNDS} varied copies of each, against radiographs of elsewhere ({sources}) and one copy of"
        " each",
        "chosen_on": f"{report.held_out} radiographs of held-out patients and {ROUNDS} varied copies of each:"
        f" {FALSE_REFUSALS:.1%} of them are refused",
        "measured": {
            "refused": report.refused,
            "labelled": report.labelled,
            "labelled_unseen": report.labelled_unseen,
            "scores": report.scores,
        },
    }


class _Describer:
    """Radiographs uint8 [N, height, width] → descriptors float32 [N, D]."""

    def __init__(self, bundle: Bundle) -> None:
        self._network = bundle.model(bundle.manifest.precisions["fp32"].file)

    def __call__(self, pixels: NDArray[np.uint8]) -> Floats:
        return answer(self._network, pixels, [DESCRIPTOR])[0]


@dataclass(frozen=True, eq=False)
class _Source:
    """The radiographs of one folder.

    Attributes:
        clean: Descriptors float32 [N, D].
        varied: Of one varied copy of each.
        second: bool [N]: the half of its patients that is not learned from where the other half is.
    """

    clean: Floats
    varied: Floats
    second: NDArray[np.bool_]

    @property
    def all(self) -> Floats:
        return np.concatenate([self.clean, self.varied])

    @classmethod
    def read(cls, folder: Path, describe: _Describer, *, size: tuple[int, int]) -> _Source:
        images, patients = [], []
        for found in Discovery((folder,), ordered=True).find():
            try:
                if isinstance(found, InputError):
                    raise found
                images.append(np.rint(to_input(read_radiograph(found), height=size[0], width=size[1])).astype(np.uint8))
            except InputError:
                continue
            named = _PATIENT.match(found.stem)
            patients.append(named[1] if named else found.stem)
        if not images:
            raise UsageError(f"{folder}: holds no radiograph that can be read")
        pixels = np.stack(images)
        every = sorted(set(patients))
        chosen = set(np.random.default_rng(0).permutation(every)[: len(every) // 2])
        return cls(describe(pixels), describe(_varied(pixels, seed=2)), np.array([each in chosen for each in patients]))


def _copies(describe: _Describer, pixels: NDArray[np.uint8], *, seed: int) -> Floats:
    parts = [describe(pixels)]
    parts += [describe(_varied(pixels, seed=seed + 10 * number)) for number in range(ROUNDS)]
    return np.concatenate(parts)


def _varied(pixels: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    copies = [augment(each, None, each, amount=COPIES, rng=rng)[0] for each in pixels.astype(np.float32)]
    return np.rint(copies).astype(np.uint8)


def _threshold(model: ScopeModel, held: Floats) -> float:
    return float(np.quantile(model.scores(held), 1 - FALSE_REFUSALS))


def _share(model: ScopeModel, descriptors: Floats, *, above: float) -> float:
    return float((model.scores(descriptors) > above).mean())


def _labelled_other_half(known: Floats, held: Floats, sources: Mapping[str, _Source]) -> dict[str, float]:
    first = [part[~each.second] for each in sources.values() for part in (each.clean, each.varied)]
    model = ScopeModel.of(known, np.concatenate(first))
    threshold = _threshold(model, held)
    return {
        name: 1 - _share(model, each.clean[each.second], above=threshold)
        for name, each in sources.items()
        if each.second.any()
    }


def _labelled_unseen(known: Floats, held: Floats, sources: Mapping[str, _Source]) -> dict[str, float]:
    found = {}
    for name, each in sources.items() if len(sources) > 1 else ():
        model = ScopeModel.of(known, np.concatenate([other.all for key, other in sources.items() if key != name]))
        found[name] = 1 - _share(model, each.clean, above=_threshold(model, held))
    return found
