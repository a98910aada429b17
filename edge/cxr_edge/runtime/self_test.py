"""Does this machine answer as the networks did when the bundle was made?

Every network of a bundle is run on the inputs that it carries. A precision besides fp32 has no expected outputs of its
own: its log-odds are held against those of fp32, within the largest loss that the manifest states for it.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.runtime.networks import (
    DESCRIPTOR,
    HIRESCAM,
    LAYERCAM,
    gate_outputs,
    open_classifier,
    open_gate,
    open_gradcam,
    open_layercam,
    open_lungs,
)
from cxr_edge.runtime.providers import BF16, Provider, bf16_obstacle
from cxr_edge.runtime.reference import LUNG_INPUTS, Outputs, ReferenceInputs, read_reference

TOLERANCE = 1e-4
_JUMPING = {HIRESCAM, LAYERCAM}
"""Gradients jump where a ReLU's input is 0 or 6. For about one input in four, one of a million of them lies so near
that two processors round it to different sides, and both are right: what is wrong in a graph shows in most inputs."""
_Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class PrecisionLoss:
    """How far a precision's log-odds are from those of fp32.

    Attributes:
        logodds_difference: The largest absolute difference on the reference inputs.
        bound: The largest one that the bundle states.
    """

    logodds_difference: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the bound; one that is no number is not."""
        return self.logodds_difference <= self.bound

    def to_json(self) -> dict[str, float | None]:
        """Give both; None where the network gives no number."""
        found = self.logodds_difference
        return {"logodds_difference": found if math.isfinite(found) else None, "bound": self.bound}


@dataclass(frozen=True)
class Comparison:
    """How far outputs are from the expected ones.

    Attributes:
        questions: How many inputs were answered.
        provider: What ran the bundle, `Session.provider`.
        differences: Largest absolute difference by output, relative to the largest expected absolute value; that of
            the probability to 1; of the maps of LayerCAM, the median over the inputs.
        map_change: Largest difference between the maps of one class for two inputs, relative to the largest
            value; 0 means that the map does not depend on the input. The least one, where there is LayerCAM, too.
        tolerance: The differences that still pass.
        precisions: The precisions besides fp32.
        untested: What the bundle has but states no expectation for.
        untried: Why a precision does not run here, by its name.
    """

    questions: int
    provider: str
    differences: dict[str, float]
    map_change: float
    tolerance: float = TOLERANCE
    precisions: dict[str, PrecisionLoss] = field(default_factory=dict)
    untested: tuple[str, ...] = ()
    untried: dict[str, str] = field(default_factory=dict)

    @property
    def fp32_faults(self) -> list[str]:
        """What is wrong with the float32 networks, one sentence each."""
        found = [
            f"{name} differs by {value:.2g} of the largest value, allowed {self.tolerance:g}"
            for name, value in self.differences.items()
            if not value <= self.tolerance  # a NaN fails too
        ]
        if not self.map_change > self.tolerance:
            found.append("the class activation map does not change with the input")
        return found

    @property
    def faults(self) -> list[str]:
        """What is wrong, one sentence each; empty if the bundle passes."""
        return self.fp32_faults + [
            f"{name} log-odds differ by {loss.logodds_difference:.2g} from fp32's, allowed {loss.bound:.2g}"
            for name, loss in self.precisions.items()
            if not loss.holds
        ]

    def to_json(self) -> dict[str, object]:
        """Give the record of the comparison."""
        precisions = {name: loss.to_json() for name, loss in self.precisions.items()}
        return {**vars(self), "precisions": precisions, "untested": list(self.untested), "passed": not self.faults}


def compute_outputs(bundle: Bundle, reference: ReferenceInputs, *, provider: Provider = "cpu") -> tuple[Outputs, str]:
    """Run the float32 networks of a bundle.

    Args:
        bundle: An opened bundle.
        reference: What to run them on.
        provider: See `open_session`. The gate and Grad-CAM always run on the CPU, as they do elsewhere.

    Returns:
        The outputs, and the provider that really ran.
    """
    manifest = bundle.manifest
    classifier = open_classifier(bundle, descriptor=manifest.gate is not None, provider=provider)
    gradcam = open_gradcam(bundle)
    gate = open_gate(bundle) if manifest.gate else None
    names = ["logodds", "probability", "features", *([DESCRIPTOR] if gate else [])]
    parts = []
    for batch in reference.batches():
        logodds, probability, features, *rest = classifier.run({"pixels": batch.inputs}, names)
        gradients, map_ = gradcam.run({"features": features, "target": batch.target}, ["gradients", "map"])
        scores = gate.run({DESCRIPTOR: rest[0]}, gate_outputs(bundle)) if gate else []
        parts.append(Outputs(logodds, probability, gradients, map_, *scores))
    outputs = Outputs.join(parts)
    if manifest.lungs is not None:
        lungs = open_lungs(bundle, provider=provider).run({"pixels": reference.inputs[:LUNG_INPUTS]}, ["lungs"])[0]
        outputs = replace(outputs, lungs=lungs)
    if manifest.layercam is not None:
        session = open_layercam(bundle, provider=provider)
        maps = [session.run({"pixels": image[None]}, [LAYERCAM, HIRESCAM]) for image in reference.inputs]
        layercam, hirescam = (np.concatenate(each) for each in zip(*maps, strict=True))
        outputs = replace(outputs, layercam=layercam, hirescam=hirescam)
    return outputs, classifier.provider


def compare(reference: ReferenceInputs, expected: Outputs, found: Outputs, *, provider: str) -> Comparison:
    """Measure how far outputs are from the expected ones; outputs that are not expected are left out."""
    maps = [[found.map[reference.target == target] for target in np.unique(reference.target)]]
    if expected.layercam is not None and found.layercam is not None:
        maps.append(list(found.layercam.swapaxes(0, 1)))
    differences = {}
    for name, wanted in expected.to_arrays().items():
        # ONNX Runtime's sigmoid stops at about 1e-8: against the largest possible value, not the largest seen.
        scale = np.float32(1) if name == "probability" else wanted
        given = getattr(found, name)
        differences[name] = _typical(wanted, given) if name in _JUMPING else _difference(wanted, given, scale)
    return Comparison(
        questions=len(expected.logodds),
        provider=provider,
        differences=differences,
        map_change=min(max(_difference(each, each[:1], each) for each in by_class) for by_class in maps),
    )


def self_test(bundle: Bundle, *, provider: Provider = "cpu") -> Comparison:
    """Compare what every network of a bundle gives on this machine with what it gave when it was made.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.

    Raises:
        BundleError: The bundle carries no such outputs, they are damaged, or a network does not take such inputs.
    """
    reference, expected = read_reference(bundle)
    try:
        found, ran = compute_outputs(bundle, reference, provider=provider)
        comparison = compare(reference, expected, found, provider=ran)
        precisions, untried = _precisions(bundle, reference, expected, provider=provider)
    except ValueError as error:  # shapes that do not fit
        problem = f"a network gives outputs of another shape ({error})"
        raise BundleError(problem, cure="export the bundle again", path=bundle.folder) from error
    gate = bundle.manifest.gate
    there = {
        "gate_score": gate,
        "scope_score": gate and gate.scope,
        "lungs": bundle.manifest.lungs,
        "layercam": bundle.manifest.layercam,
        **bundle.manifest.precisions,
    }
    tested = {*expected.to_arrays(), *precisions, *untried, "fp32"}
    untested = tuple(name for name, network in there.items() if network is not None and name not in tested)
    return replace(comparison, precisions=precisions, untested=untested, untried=untried)


def _precisions(
    bundle: Bundle, reference: ReferenceInputs, expected: Outputs, *, provider: Provider
) -> tuple[dict[str, PrecisionLoss], dict[str, str]]:
    losses, untried = {}, {}
    for name, precision in bundle.manifest.precisions.items():
        bound = precision.loss.get("max_logodds_error")
        if name == "fp32" or not isinstance(bound, int | float) or not math.isfinite(bound):
            continue
        if name == BF16 and (reason := bf16_obstacle(provider)):
            untried[name] = reason
            continue
        session = open_classifier(bundle, name, provider=provider)
        parts = [session.run({"pixels": batch.inputs}, ["logodds"])[0] for batch in reference.batches()]
        losses[name] = PrecisionLoss(float(np.abs(np.concatenate(parts) - expected.logodds).max()), float(bound))
    return losses, untried


def _typical(expected: _Numbers, found: _Numbers) -> float:
    """The median over the inputs of the largest difference for each, relative to its largest value."""
    if expected.shape != found.shape:
        raise ValueError(f"shape {found.shape}, expected {expected.shape}")
    return float(np.median([_difference(*pair, pair[0]) for pair in zip(expected, found, strict=True)]))


def _difference(expected: _Numbers, found: _Numbers, scale: NDArray[Any] | np.float32) -> float:
    if expected.shape != found.shape and len(found) != 1:
        raise ValueError(f"shape {found.shape}, expected {expected.shape}")
    # Maps are all zero where no class has evidence; then the difference itself is what counts.
    largest = float(np.abs(scale).max()) or 1.0
    return float(np.abs(expected - found).max()) / largest
