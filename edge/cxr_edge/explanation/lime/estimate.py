"""What fitting a surrogate yields, whichever way it was fitted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
