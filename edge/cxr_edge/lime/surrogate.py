"""The surrogate of the fast mode: a linear model of the log-odds, estimated place by place.

What is estimated is the coefficient b_j of superpixel j in the least-squares fit of f(z) by a + Σ b_j z_j over all
masks z with equal weight. LIME's kernel (Ribeiro et al. 2016) depends on the kept fraction alone, which fair coins
hold near one half, so that it is almost constant (Garreau and Mardaoui 2021); GLIME (Tan et al. 2023) drops it for
the same reason. The two converged answers correlate by more than 0.998.

Least squares on f alone is noisy, because the effect of every other superpixel is noise to this one's. The features
tell where an effect happens: with the head's gradient g at the features of a typical perturbation,
f(z) = Σ_xy g·F_xy(z) + r(z), and the part of place xy follows the superpixels nearby. Each superpixel's effect on each
place is therefore estimated by itself and shrunk towards zero by an empirical-Bayes factor
t_ring / (t_ring + noise), t being the mean square effect over all pairs at that distance (Efron and Morris 1973),
before the places are added up. Far-off pairs, which hold almost nothing but noise, vanish.
"""

import numpy as np
from numpy.typing import NDArray

from cxr_edge.lime.estimate import Estimate, Floats
from cxr_edge.superpixels import Superpixels

_RING_EDGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # cells of the feature map, between centres
_ROUNDS = 6
# The prior and the noise come from the same few samples, and their own doubt is in no formula: without the factor the
# intervals held the converged value in 88 % of the cases, not 95 %, and the stated stability was too high by 0.02.
_CAUTION = 1.75


def rings(superpixels: Superpixels, height: int, width: int) -> NDArray[np.intp]:
    """Class every pair of superpixel and place by distance: [d, height·width + 1], the last the remainder's own."""
    rows, columns = np.indices(superpixels.labels.shape)
    size = np.bincount(superpixels.labels.ravel())
    y, x = (
        np.bincount(superpixels.labels.ravel(), weights=(axis.ravel() + 0.5) * cells / length) / size
        for axis, cells, length in zip((rows, columns), (height, width), superpixels.labels.shape, strict=True)
    )
    cell_y, cell_x = np.indices((height, width)).reshape(2, -1) + 0.5
    ring = np.digitize(np.hypot(y[:, None] - cell_y, x[:, None] - cell_x), _RING_EDGES)
    return np.pad(ring, ((0, 0), (0, 1)), constant_values=len(_RING_EDGES) + 1)


class Surrogate:
    """Normal equations of the fast mode: fixed memory, however many samples.

    Args:
        ring: From `rings`.
    """

    def __init__(self, ring: NDArray[np.intp]) -> None:
        self._ring = ring
        count, places = ring.shape
        self._pairs = 0
        self._cross = np.zeros((count, places))
        self._gram = np.zeros((places, places))
        self._sum = self._squares = 0.0

    def add(self, masks: NDArray[np.uint8], scores: Floats, contributions: Floats) -> None:
        """Take in samples of whole blocks of `folded_hadamard`; a block may come in several even parts.

        Args:
            masks: [2p, d], rows 2i and 2i+1 complements.
            scores: [2p], log-odds.
            contributions: [2p, places], linear contribution of each place of the feature map.
        """
        values = np.column_stack([contributions, scores - contributions.sum(axis=1)])
        odd = (values[::2] - values[1::2]) / 2  # half the difference of complements: no even-order interactions
        signs = masks[::2] * 2.0 - 1.0
        self._pairs += len(signs)
        self._cross += signs.T @ odd
        self._gram += odd.T @ odd
        self._sum += float(scores.sum())
        self._squares += float(scores @ scores)

    def estimate(self) -> Estimate:
        """Fit to all samples so far, which must be whole blocks."""
        pairs, ring = self._pairs, self._ring
        plain = self._cross / pairs  # the columns of whole blocks are orthogonal
        kept = np.ones_like(plain)
        shrunk = plain
        for _ in range(_ROUNDS):
            # Residual covariance of the places, each with the degrees of freedom that its shrunk fit leaves.
            freedom = np.sqrt(pairs - np.minimum(kept.sum(axis=0), pairs - 2))
            residual = self._gram - pairs * (plain.T @ shrunk + shrunk.T @ plain - shrunk.T @ shrunk)
            covariance = residual / freedom[:, None] / freedom / pairs
            noise = np.broadcast_to(np.maximum(np.diag(covariance), 0.0), plain.shape)
            size = np.bincount(ring.ravel())
            excess = np.bincount(ring.ravel(), weights=(plain**2 - noise).ravel())
            prior = (np.maximum(excess, 0.0) / np.maximum(size, 1))[ring]
            total = prior + noise
            kept = np.divide(prior, total, out=np.zeros_like(prior), where=total > 0)
            shrunk = kept * plain
        half = shrunk.sum(axis=1)
        mean = self._sum / (2 * pairs)
        variation = self._squares - 2 * pairs * mean**2
        explained = 2 * pairs * float(2 * plain.sum(axis=1) @ half - half @ half)
        sampling = np.einsum("jl,lm,jm->j", kept, covariance, kept)  # rounding may leave -1e-20
        return Estimate(
            coefficients=2 * half,
            variance=4 * _CAUTION * (np.maximum(sampling, 0.0) + self._bias(kept, prior)),
            intercept=mean - float(half.sum()),
            r_squared=explained / variation if variation > 0 else 1.0,
            samples=2 * pairs,
        )

    def _bias(self, kept: Floats, prior: Floats) -> Floats:
        """Mean square of what shrinking took away, if the effects on one ring's places all point the same way."""
        lost = (1 - kept) * np.sqrt(prior)
        return sum((lost * (self._ring == ring)).sum(axis=1) ** 2 for ring in range(int(self._ring.max()) + 1))
