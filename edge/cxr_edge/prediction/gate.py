"""Is it a chest radiograph at all? A classifier's descriptor of an input → a score, and what is refused for it."""

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.networks import DESCRIPTOR, open_gate


class Gate:
    """The graph of a bundle that scores how unlike a chest radiograph an input is.

    Args:
        bundle: An opened bundle with a gate.

    Raises:
        BundleError: The bundle has none, or ONNX Runtime cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._session = open_gate(bundle)

    def scores(self, descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score descriptors float32 [N, D] of N inputs.

        Returns:
            float32 [N], the larger the less like a chest radiograph.
        """
        return self._session.run({DESCRIPTOR: descriptors}, ["score"])[0]
