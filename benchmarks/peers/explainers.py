"""Other LIMEs and relatives on the shipped network, each at the same number of samples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Probability = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def dianna(
    method: str, probability: Probability, image: NDArray[np.float32], samples: int
) -> Callable[[], NDArray[np.float32]]:
    """``dianna.explain_image`` with LIME or RISE.

    Args:
        method: ``LIME`` or ``RISE``.
        probability: Inputs [N, 224, 224] → probability of PNEUMONIA [N].
        image: The input.
        samples: Perturbations.
    """
    import dianna as package

    def network(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        values = probability(np.ascontiguousarray(np.asarray(pictures)[..., 0], np.float32))
        return np.stack([1 - values, values], axis=1)

    options = {"num_samples": samples} if method == "LIME" else {"n_masks": samples}
    picture = np.repeat(image[:, :, None], 3, axis=2)
    return lambda: package.explain_image(network, picture, method=method, labels=[1], **options)
