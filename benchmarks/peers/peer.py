"""What a neighbour of this project can do with the same network."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.superpixels import Superpixels
from peers.network import Floats, Network

Predict = Callable[[Floats], NDArray[Any]]
"""Inputs [n, height, width] in 0..255 → calibrated probability of the positive label [n]."""
Map = Callable[[Floats], NDArray[Any]]
"""Input [height, width] → class activation map of the positive label's logit, before scaling [h, w]."""


class Explain(Protocol):
    """LIME."""

    def __call__(self, image: Floats, regions: Superpixels, *, seed: int, samples: int) -> NDArray[np.float64] | None:
        """Coefficient of each superpixel for the probability of the positive label; None from another method."""
        ...


@dataclass(frozen=True, eq=False)
class Peer:
    """One way to get an answer; None is what it does not offer."""

    name: str
    predict: Predict | None = None
    gradcam: Map | None = None
    lime: Explain | None = None
    tolerance: float = 1e-4
    """How far its probability may be from ours: more where it computes in another precision by its own choice."""


@dataclass(frozen=True)
class Skipped:
    """A peer that is not there, with the reason and the cure."""

    name: str
    reason: str


class Kind(Protocol):
    """A module of this folder."""

    NAME: str
    NEEDS: Sequence[str]
    REQUIREMENTS: str

    def peers(self, network: Network, threads: int) -> list[Peer]:
        """Load them."""
        ...


def gather(kinds: Sequence[Kind], network: Network, threads: int) -> tuple[list[Peer], list[Skipped]]:
    """Load what is installed."""
    found: list[Peer] = []
    skipped: list[Skipped] = []
    for kind in kinds:
        missing = [name for name in kind.NEEDS if importlib.util.find_spec(name) is None]
        if missing:
            cure = f"pip install -r benchmarks/peers/{kind.REQUIREMENTS}"
            skipped.append(Skipped(kind.NAME, f"{', '.join(missing)} not installed; {cure}"))
        else:
            found += kind.peers(network, threads)
    return found, skipped
