"""Does this machine answer as the trained network did? A bundle carries inputs with Keras' own answers to them."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.sessions import Provider, open_session

GOLDEN_FILE = "golden.npz"
TOLERANCE = 1e-4
_CHUNK = 16


@dataclass(frozen=True, eq=False)
class Answers:
    """Everything that the two graphs of a bundle say about N inputs.

    Attributes:
        logodds: float32 [N], uncalibrated.
        probability: float32 [N], calibrated, 0..1.
        gradients: float32 [N, 2, h, w, channels]: d logit / d features, for class 0 and class 1.
        maps: float32 [N, 2, h, w], ≥ 0: the class activation map of class 0 and class 1.
    """

    logodds: NDArray[np.float32]
    probability: NDArray[np.float32]
    gradients: NDArray[np.float32]
    maps: NDArray[np.float32]

    @classmethod
    def join(cls, parts: Sequence["Answers"]) -> "Answers":
        """Put the answers to several batches behind one another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Comparison:
    """How far two sets of answers are apart.

    Attributes:
        inputs: How many inputs were answered.
        provider: What ran the bundle, ``cpu`` or ``cuda``.
        differences: Largest absolute difference by output, relative to the largest expected absolute value.
        map_change: Largest difference between the maps of two inputs, relative to the largest value; 0 means
            that the map does not depend on the input.
        tolerance: The differences that still pass.
    """

    inputs: int
    provider: str
    differences: dict[str, float]
    map_change: float
    tolerance: float = TOLERANCE

    @property
    def faults(self) -> list[str]:
        """What is wrong, one sentence each; empty if the bundle passes."""
        found = [
            f"{name} differs by {value:.2g} of the largest value, allowed {self.tolerance:g}"
            for name, value in self.differences.items()
            if not value <= self.tolerance  # a NaN fails too
        ]
        if not self.map_change > self.tolerance:
            found.append("the class activation map does not change with the input")
        return found

    def to_json(self) -> dict[str, object]:
        """Give the record of the comparison."""
        return {**vars(self), "passed": not self.faults}


def answers(bundle: Bundle, inputs: NDArray[np.float32], *, provider: Provider = "cpu") -> tuple[Answers, str]:
    """Ask a bundle's fp32 classifier and its Grad-CAM graph about inputs.

    Args:
        bundle: An opened bundle.
        inputs: float32 [N, height, width] in 0..255.
        provider: See `open_session`.

    Returns:
        The answers, and the provider that really ran.
    """
    classifier = open_session(bundle.model(bundle.manifest.precisions["fp32"].file), provider=provider)
    gradcam = open_session(bundle.model("gradcam.onnx"), provider=provider)
    parts = []
    for start in range(0, len(inputs), _CHUNK):
        batch = inputs[start : start + _CHUNK]
        logodds, probability, features = classifier.run({"pixels": batch}, ["logodds", "probability", "features"])
        by_class = [
            gradcam.run({"features": features, "target": np.full(len(batch), target)}, ["gradients", "map"])
            for target in (0, 1)
        ]
        gradients, maps = (np.stack(values, 1) for values in zip(*by_class, strict=True))
        parts.append(Answers(logodds, probability, gradients, maps))
    return Answers.join(parts), classifier.provider


def compare(expected: Answers, found: Answers, *, provider: str) -> Comparison:
    """Measure how far answers are from the expected ones."""
    names = Answers.__dataclass_fields__
    return Comparison(
        inputs=len(expected.logodds),
        provider=provider,
        differences={name: _difference(getattr(expected, name), getattr(found, name)) for name in names},
        map_change=_difference(found.maps, found.maps[:1]),
    )


def self_test(bundle: Bundle, *, provider: Provider = "cpu") -> Comparison:
    """Compare a bundle's answers on this machine with those that Keras gave when it was made.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.

    Raises:
        BundleError: The bundle carries no such answers, or they are damaged.
    """
    path = bundle.path(GOLDEN_FILE)
    try:
        with np.load(path) as stored:
            inputs = stored["inputs"].astype(np.float32)
            expected = Answers(*(stored[name] for name in Answers.__dataclass_fields__))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: not the inputs and answers expected ({error}); export the bundle again") from error
    found, ran = answers(bundle, inputs, provider=provider)
    return compare(expected, found, provider=ran)


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    # Maps are all zero where no class has evidence; then the difference itself is what counts.
    largest = float(np.abs(expected).max()) or 1.0
    return float(np.abs(expected - found).max()) / largest
