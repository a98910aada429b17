"""What fitting a surrogate yields, whichever way it was fitted, and how sure its ranking of superpixels is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOP = 5
_DRAWS = 400


@dataclass(frozen=True, eq=False)
class Estimate:
    """A fitted surrogate.

    Attributes:
        coefficients: float64 [d], log-odds gained when the superpixel is shown.
        variance: float64 [d], of the coefficient's error.
        intercept: Log-odds with everything hidden, as the surrogate has it.
        r_squared: Share of the variance of the scores that the surrogate explains, over its own samples.
        samples: Number of perturbations used.
    """

    coefficients: Floats
    variance: Floats
    intercept: float
    r_squared: float
    samples: int


def expected_overlap(estimate: Estimate, *, top: int = TOP) -> float:
    """Predict how many of the leading superpixels two independent runs of this size would share.

    The true coefficients are drawn from their posterior under a normal prior of the observed spread, then two runs
    from each draw, and the sets of the ``top`` largest absolute values are compared.

    Args:
        estimate: The result of a run of this size.
        top: Size of the sets; all superpixels if there are fewer.

    Returns:
        Mean share in common, 0..1.
    """
    coefficients, variance = estimate.coefficients, estimate.variance
    top = min(top, len(coefficients))
    if not variance.any():
        return 1.0
    random = np.random.default_rng(0)
    prior = max(0.0, float(np.mean(coefficients**2 - variance)))
    kept = np.divide(prior, prior + variance, out=np.ones_like(variance), where=variance > 0)
    noise = random.standard_normal((3, _DRAWS, len(coefficients)))
    truth = kept * coefficients + noise[0] * np.sqrt(kept * variance)
    first, second = (
        np.argpartition(-np.abs(truth + part * np.sqrt(variance)), top - 1, axis=1)[:, :top] for part in noise[1:]
    )
    return float((first[:, :, None] == second[:, None, :]).any(axis=2).mean())
