"""Shapley values of superpixels from few coalitions.

The game is f(z), the log-odds with the superpixels of coalition z shown and all others hidden. A superpixel's Shapley
value is the mean of what it adds, over all orders in which the superpixels may be shown one after the other (Shapley
1953). The values sum up to what the whole picture adds to the hidden one (efficiency).

Coalitions come in pairs of complements; of these only half the difference matters, because the Shapley values of the
even part of a game are 0 (Covert and Lee 2021, section 4.2). The leverage score of a coalition of size s among d
superpixels is 1/C(d, s) (Musco and Witter 2025, lemma 3.2): every size is as likely as every other. Within a size the
pairs are drawn without replacement, and the sizes share the draws out evenly.

The places of the feature map are the Gaussian processes of `cxr_edge.explanation.lime.process`, whose Shapley values
have a posterior in closed form. For a product game Π_k (1 + r_k t_k s_k) the value of superpixel j is
∫ r_j t_j Π_{k≠j} (1 + r_k t_k u) du over u = -1..1 (the multilinear extension, Owen 1972). This estimate is the control
variate: what the coalitions show beyond it, each pair left out in turn, is fitted by the weighted regression of
KernelSHAP with the efficiency constraint (Lundberg and Lee 2017, theorem 2; Musco and Witter 2025, algorithm 1), and
added as far as its own variance allows (regression adjustment: Witter et al. 2025).

Measured on radiographs of the published val and test folders with 12 superpixels, whose exact values are known
(`python benchmarks/exact_shapley.py`). Tried there and left out: the correction alone, without its shrinkage (error
half as large again at 112 coalitions); the process without features, on the log-odds alone (three times the error).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.lime.perturbations import Masks
from cxr_edge.explanation.lime.process import PlaceProcess, corrected, fit_places
from cxr_edge.explanation.lime.surrogate import FEATURE_PAIRS, Estimate, Floats

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(8)
_DETERMINED = 1.5  # pairs a superpixel, from which on the regression says something


class Coalitions:
    """Coalitions in pairs of complements, the whole picture and the hidden one first.

    Args:
        count: Number of superpixels d, at least 1.
        random: Generator.
    """

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self._count = count
        self._random = random
        self._seen: set[bytes] = set()
        self._sizes = np.arange(1, count // 2 + 1)
        middle = 2 * self._sizes == count
        self._pairs = np.array([comb(count, int(size)) for size in self._sizes], float) / np.where(middle, 2, 1)
        self._shares = np.where(middle, 0.5, 1.0)
        self._due = random.random(len(self._sizes)) * 1e-6  # which size comes first is left to chance
        self._drawn = np.zeros(len(self._sizes))

    def draw(self, size: int) -> Masks:
        """Give the next ones: uint8 [size, d], fewer where all were drawn; rows 2i and 2i+1 are complements."""
        shown = []
        for _ in range(size // 2):
            if not self._seen:
                shown.append(np.ones(self._count, np.uint8))
                self._seen.add(shown[0].tobytes())
            elif (self._drawn < self._pairs).any():
                shown.append(self._next())
        kept = np.array(shown, np.uint8).reshape(-1, self._count)
        return np.stack([kept, 1 - kept], axis=1).reshape(-1, self._count)

    def _next(self) -> NDArray[np.uint8]:
        left = self._drawn < self._pairs
        shares = np.where(left, self._shares, 0)
        self._due += shares / shares.sum()
        place = int(np.argmax(np.where(left, self._due - self._drawn, -np.inf)))
        self._drawn[place] += 1
        while True:
            mask = np.zeros(self._count, np.uint8)
            mask[self._random.permutation(self._count)[: self._sizes[place]]] = 1
            key = min(mask.tobytes(), (1 - mask).tobytes())
            if key not in self._seen:
                self._seen.add(key)
                return mask


class ShapleySurrogate:
    """What the coalitions say.

    Args:
        shares: From `reach`, [d, places].
    """

    def __init__(self, shares: Floats) -> None:
        self._shares = shares
        self._masks: list[Masks] = []
        self._scores: list[Floats] = []
        self._parts: list[Floats] = []

    @property
    def samples(self) -> int:
        """Coalitions taken in so far."""
        return sum(map(len, self._scores))

    def add(self, masks: Masks, scores: Floats, contributions: Floats) -> None:
        """Take in coalitions from `Coalitions`: masks [2p, d], log-odds [2p], contributions [2p, places]."""
        kept = max(0, 2 * FEATURE_PAIRS - self.samples)
        self._masks.append(masks)
        self._scores.append(scores)
        self._parts.append((contributions[:kept:2] - contributions[1:kept:2]) / 2)

    def estimate(self) -> Estimate:
        """Estimate the Shapley values from all coalitions so far; the intercept is the hidden picture's log-odds."""
        masks: Masks = np.concatenate(self._masks)
        scores: Floats = np.concatenate(self._scores)
        parts: Floats = np.concatenate(self._parts)
        signs: Floats = 2 * masks[::2].astype(np.float64) - 1
        odd: Floats = (scores[::2] - scores[1::2]) / 2
        first = len(parts)
        seen = np.column_stack([parts, odd[:first] - parts.sum(axis=1)])
        posterior = fit_places(self._shares, signs[:first], seen, _shapley_values)
        whole = float(scores[0] - scores[1])
        later = odd[first:] - posterior.predict(signs[first:])
        beyond = np.concatenate([posterior.left_out, later])[1:]  # the first pair is the constraint
        values, variance = _corrected(posterior.mean, posterior.variance, signs[1:], beyond)
        values, variance = _efficient(values, variance, whole)
        expected = scores[1] + masks @ values
        variation = float(((scores - scores.mean()) ** 2).sum())
        r_squared = 1 - float(((scores - expected) ** 2).sum()) / variation if variation > 0 else 1.0
        return Estimate(values, variance, float(scores[1]), r_squared, len(scores))


@dataclass(frozen=True, eq=False)
class Regression:
    """KernelSHAP's regression for coalitions in pairs of complements, f(z) - f(0) by Σ φ_j z_j with Σ φ_j given.

    Half the difference of complements is fitted by Σ φ_j s_j / 2; what complements have in common is in no value.

    Attributes:
        values: φ, float64 [d].
        noise: Variance of their error, if that of a pair is all noise (White 1980), float64 [d].
    """

    values: Floats
    noise: Floats

    @classmethod
    def fit(cls, signs: Floats, odd: Floats, weights: Floats, whole: float) -> Regression:
        """Fit (Lundberg and Lee 2017, theorem 2; Covert and Lee 2021, equation 7).

        Args:
            signs: ±1, the first of each pair, neither the whole picture nor the hidden one: [p, d].
            odd: Half the difference of complements, [p].
            weights: Shapley's kernel of each pair, over how likely it was to be drawn; [p], in any unit.
            whole: f(1) - f(0), which the values sum up to.
        """
        pairs, count = signs.shape
        weighted: Floats = signs * weights[:, None]
        inverse = np.asarray(np.linalg.pinv(weighted.T @ signs), np.float64)
        ones = inverse.sum(axis=1)
        free: Floats = inverse - np.outer(ones, ones) / ones.sum()
        half = np.asarray(free @ (weighted.T @ odd) + ones / ones.sum() * (whole / 2), np.float64)
        errors = (odd - signs @ half) * weights
        spread = ((signs @ free) * errors[:, None]) ** 2
        return cls(2 * half, 4 * spread.sum(axis=0) * pairs / max(1, pairs - count))


def exact_shapley(scores: Floats) -> Floats:
    """Compute Shapley values from all coalitions.

    Args:
        scores: float64 [2^d], in the order of `perturbations.exhaustive`, the whole picture first.

    Returns:
        float64 [d].
    """
    count = len(scores).bit_length() - 1
    by_number = scores[::-1]  # the bits of its place say who is in a coalition
    numbers = np.arange(len(scores))
    sizes = np.array([number.bit_count() for number in range(len(scores))])
    weights = np.array([1 / (count * comb(count - 1, size)) for size in range(count)])
    values = np.empty(count)
    for place in range(count):
        without = numbers[(numbers >> place) & 1 == 0]
        values[place] = weights[sizes[without]] @ (by_number[without | 1 << place] - by_number[without])
    return values


def _shapley_values(process: PlaceProcess, signs: Floats, inverse: Floats, solved: Floats) -> tuple[Floats, Floats]:
    """The Shapley values of one place: their mean, and their variance in units of the process's."""
    at_nodes = process.couplings[:, None] * _NODES
    logarithms = 0.5 * np.log1p(-(at_nodes**2)).sum(axis=0) + signs @ np.arctanh(at_nodes)
    products = np.exp(logarithms) * _NODE_WEIGHTS
    shown, hidden = products @ (1 / (1 + at_nodes)).T, products @ (1 / (1 - at_nodes)).T
    cross = process.linear * signs * np.where(signs > 0, shown, hidden)
    pairs_of_nodes = process.couplings[:, None] * np.outer(_NODES, _NODES).ravel()
    both = np.exp(np.log1p(pairs_of_nodes).sum(axis=0)) * np.outer(_NODE_WEIGHTS, _NODE_WEIGHTS).ravel()
    prior = process.linear * (1 / (1 + pairs_of_nodes) @ both)
    return cross.T @ solved, np.maximum(prior - np.einsum("pj,pj->j", cross, inverse @ cross), 0.0)


def _efficient(values: Floats, variance: Floats, whole: float) -> tuple[Floats, Floats]:
    """Condition on the sum of the values: what is missing goes to those that are least certain."""
    total = float(variance.sum())
    if total <= 0:
        return values + (whole - values.sum()) / len(values), variance
    return values + variance / total * (whole - values.sum()), variance - variance**2 / total


def _corrected(values: Floats, variance: Floats, signs: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """Add what the regression finds in the residuals of the pairs, as far as it is more certain than the values."""
    pairs, count = signs.shape
    if pairs < _DETERMINED * count:
        return values, variance
    sizes = (signs > 0).sum(axis=1)
    alike = np.minimum(sizes, count - sizes)
    weights: Floats = 1 / (sizes * (count - sizes) * np.bincount(alike)[alike])
    found = Regression.fit(signs, beyond, weights, 0.0)
    return corrected(values, variance, found.values, found.noise)
