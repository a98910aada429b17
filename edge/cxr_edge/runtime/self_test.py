"""Does this machine answer as the trained network did? A bundle carries inputs with Keras' own answers to them."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.runtime.sessions import Provider, open_session

GOLDEN_FILE = "golden.npz"
TOLERANCE = 1e-4
_CHUNK = 16


@dataclass(frozen=True, eq=False)
class Questions:
    """Inputs, each with the class to explain.

    Attributes:
        inputs: float32 [N, height, width] in 0..255.
        target: int64 [N], a class index.
    """

    inputs: NDArray[np.float32]
    target: NDArray[np.int64]

    def batches(self) -> list["Questions"]:
        """Cut them into pieces that fit into memory whatever their number."""
        starts = range(0, len(self.inputs), _CHUNK)
        return [Questions(self.inputs[i : i + _CHUNK], self.target[i : i + _CHUNK]) for i in starts]


@dataclass(frozen=True, eq=False)
class Answers:
    """Everything that the two graphs of a bundle say about N questions.

    Attributes:
        logodds: float32 [N], uncalibrated.
        probability: float32 [N], calibrated, 0..1.
        gradients: float32 [N, h, w, channels]: d logit of the target / d features.
        map: float32 [N, h, w], ≥ 0: the class activation map of the target.
    """

    logodds: NDArray[np.float32]
    probability: NDArray[np.float32]
    gradients: NDArray[np.float32]
    map: NDArray[np.float32]

    @classmethod
    def join(cls, parts: Sequence["Answers"]) -> "Answers":
        """Put the answers to several batches behind one another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Comparison:
    """How far two sets of answers are apart.

    Attributes:
        questions: How many were answered.
        provider: What ran the bundle, `Session.provider`.
        differences: Largest absolute difference by output, relative to the largest expected absolute value; that of
            the probability to 1.
        map_change: Largest difference between the maps of one class for two inputs, relative to the largest
            value; 0 means that the map does not depend on the input.
        tolerance: The differences that still pass.
    """

    questions: int
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


def ask(bundle: Bundle, questions: Questions, *, provider: Provider = "cpu") -> tuple[Answers, str]:
    """Put questions to a bundle's fp32 classifier and its Grad-CAM graph.

    Args:
        bundle: An opened bundle.
        questions: What to ask.
        provider: See `open_session`.

    Returns:
        The answers, and the provider that really ran.
    """
    classifier = open_session(bundle.network(bundle.manifest.precisions["fp32"].file), provider=provider, cached=True)
    gradcam = open_session(bundle.model("gradcam.onnx"), provider=provider)
    parts = []
    for batch in questions.batches():
        outputs = ["logodds", "probability", "features"]
        logodds, probability, features = classifier.run({"pixels": batch.inputs}, outputs)
        explanation = gradcam.run({"features": features, "target": batch.target}, ["gradients", "map"])
        parts.append(Answers(logodds, probability, *explanation))
    return Answers.join(parts), classifier.provider


def compare(questions: Questions, expected: Answers, found: Answers, *, provider: str) -> Comparison:
    """Measure how far answers are from the expected ones."""
    maps = [found.map[questions.target == target] for target in np.unique(questions.target)]
    return Comparison(
        questions=len(expected.logodds),
        provider=provider,
        differences={
            "logodds": _difference(expected.logodds, found.logodds),
            # ONNX Runtime's sigmoid stops at about 1e-8: against the largest possible value, not the largest seen.
            "probability": float(np.abs(expected.probability - found.probability).max()),
            "gradients": _difference(expected.gradients, found.gradients),
            "map": _difference(expected.map, found.map),
        },
        map_change=max(_difference(of_class, of_class[:1]) for of_class in maps),
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
            questions = Questions(stored["inputs"].astype(np.float32), stored["target"])
            expected = Answers(*(stored[name] for name in Answers.__dataclass_fields__))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: not the inputs and answers expected ({error}); export the bundle again") from error
    found, ran = ask(bundle, questions, provider=provider)
    return compare(questions, expected, found, provider=ran)


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    # Maps are all zero where no class has evidence; then the difference itself is what counts.
    largest = float(np.abs(expected).max()) or 1.0
    return float(np.abs(expected - found).max()) / largest
