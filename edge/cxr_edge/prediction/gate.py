"""Is it a chest radiograph, and one of those that the network knows? A classifier's descriptor of an input → scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.networks import DESCRIPTOR, gate_outputs, open_gate


@dataclass(frozen=True, eq=False)
class GateScores:
    """What the gate says of N inputs.

    Attributes:
        distance: float32 [N], the larger the less like a chest radiograph.
        elsewhere: float32 [N], log-odds that the radiograph is not one of those that the network knows; None where
            the bundle cannot tell.
    """

    distance: NDArray[np.float32]
    elsewhere: NDArray[np.float32] | None


class Gate:
    """The graph of a bundle that scores how unlike the radiographs an input is that the network knows.

    Args:
        bundle: An opened bundle with a gate.

    Raises:
        BundleError: The bundle has none, or ONNX Runtime cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._session = open_gate(bundle)
        self._outputs = gate_outputs(bundle)

    def scores(self, descriptors: NDArray[np.float32]) -> GateScores:
        """Score descriptors float32 [N, D] of N inputs."""
        distance, *rest = self._session.run({DESCRIPTOR: descriptors}, self._outputs)
        return GateScores(distance, rest[0] if rest else None)
