"""The Gaussian process of every place of the feature map, and what it says of a linear functional of the log-odds.

With signs s = 2z - 1, a place is a Gaussian process on the hypercube with the kernel Π_j (1 + r_j s_j s'_j), r_j being
superpixel j's share of the place's neighbourhood; see `cxr_edge.explanation.lime.surrogate`. Half the difference of
complements is its odd part. LIME's coefficients and Shapley values are two linear functionals of it, so that each has a
normal posterior in closed form (Rasmussen and Williams 2006, equations 2.25 and 2.26).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_COUPLING = 1.2  # Σ_j r_j of a place
_LARGEST = 0.8  # a superpixel that fills a whole neighbourhood still leaves something open
_UNSEEN = 0.04  # share of a place's variance that the kernel does not describe
_RELATED = 0.5  # correlation of the errors of process and regression on its residuals
_ACTIVE = 0.999  # share of the variance whose places are modelled each by itself; the others are, summed

_Floats = NDArray[np.float64]


class PlaceProcess:
    """The process of one place, of variance 1.

    Attributes:
        couplings: r, float64 [d].
        linear: Variance of each superpixel's linear part, float64 [d]: r, scaled so that the process has variance 1.
    """

    def __init__(self, shares: _Floats) -> None:
        self.couplings = np.minimum(_COUPLING * shares, _LARGEST)
        self._angles = np.arctanh(self.couplings)
        shrunk = np.exp(-0.5 * np.log1p(-(self.couplings**2)).sum())
        self.linear: _Floats = (1 - _UNSEEN) * self.couplings * shrunk / np.sinh(self._angles.sum())

    def covariance(self, signs: _Floats, others: _Floats) -> _Floats:
        """The covariance of what the kernel describes: [p, d] and [q, d] → [p, q]."""
        # Π (1 + r s s') = c·exp(Σ artanh(r) s s'), whose odd part is c·sinh; scaled to 1 on the diagonal.
        ratio = np.sinh((signs * self._angles) @ others.T) / np.sinh(self._angles.sum())
        return np.asarray((1 - _UNSEEN) * ratio)


Functional = Callable[[PlaceProcess, _Floats, _Floats, _Floats], tuple[_Floats, _Floats]]
"""Process, signs [p, d], inverse of their covariance [p, p], and that times the values [p] → the posterior mean of each
superpixel's value [d], and its variance in units of the process's [d]."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What all places together say.

    Attributes:
        mean: float64 [d].
        variance: float64 [d].
        left_out: float64 [p], what was seen of each pair less what is expected of it from all others.
    """

    mean: _Floats
    variance: _Floats
    left_out: _Floats
    _signs: _Floats
    _solved: list[tuple[PlaceProcess, _Floats]]

    def predict(self, signs: _Floats) -> _Floats:
        """Expect the odd part of the log-odds of other pairs: [q, d] → [q]."""
        found = np.zeros(len(signs))
        for process, solved in self._solved:
            found += process.covariance(signs, self._signs) @ solved
        return found


def fit_places(shares: _Floats, signs: _Floats, odd: _Floats, functional: Functional) -> Posterior:
    """Fit a process to every place that matters, and one to the sum of the others.

    The places' errors are not independent; how far their sum exceeds what the places state one by one is measured by
    leaving out each pair in turn (the same, section 5.4.2), and widens the variance.

    Args:
        shares: Each superpixel's share of each place's neighbourhood, [d, places].
        signs: ±1, [p, d], the first of each pair of complements.
        odd: Half the difference of complements, [p, places + 1]; the last is what the places do not explain.
        functional: What is asked for.
    """
    pairs, count = signs.shape
    mean, variance = np.zeros(count), np.zeros(count)
    left_out: _Floats = np.zeros(pairs)
    stated: _Floats = np.zeros(pairs)
    processes = []
    for share, values in _places(shares, odd):
        power = float(values @ values)
        if power <= 0:
            continue
        process = PlaceProcess(share)
        covariance = process.covariance(signs, signs)
        covariance[np.diag_indices(pairs)] += _UNSEEN
        inverse = np.asarray(np.linalg.inv(covariance), np.float64)
        solved = inverse @ values
        scale = float(values @ solved) / pairs
        part, uncertain = functional(process, signs, inverse, solved)
        mean += part
        variance += scale * uncertain
        alone = np.diag(inverse)
        left_out = left_out + solved / alone
        stated += scale / alone
        processes.append((process, solved))
    excess = float(np.mean(np.divide(left_out**2, stated, out=np.zeros(pairs), where=stated > 0)))
    return Posterior(mean, np.asarray(variance * max(1.0, excess)), np.asarray(left_out, np.float64), signs, processes)


def corrected(values: _Floats, variance: _Floats, found: _Floats, noise: _Floats) -> tuple[_Floats, _Floats]:
    """Add what a regression finds in what the process did not expect, as far as it is more certain than the process.

    Args:
        values: From the process, [d].
        variance: Of their error, [d].
        found: From the regression on the residuals of the same pairs, [d].
        noise: Variance of its error, [d].

    Returns:
        The sum and the variance of its error. The two errors look at the same pairs, so that they are related.
    """
    total = variance + noise
    share = np.divide(variance, total, out=np.zeros_like(total), where=total > 0)
    left = share * noise + 2 * _RELATED * share * (1 - share) * np.sqrt(variance * noise)
    return values + share * found, left


def _places(shares: _Floats, odd: _Floats) -> Iterator[tuple[_Floats, _Floats]]:
    """Each place that matters, with what each superpixel has to do with it, and the rest of them summed up."""
    power = (odd**2).sum(axis=0)
    strongest = np.argsort(-power, kind="stable")
    matter = strongest[: int(np.searchsorted(np.cumsum(power[strongest]), _ACTIVE * power.sum())) + 1]
    count, places = shares.shape
    matter = np.sort(matter[matter < places])
    for place in matter:
        yield shares[:, place], odd[:, place]
    yield np.full(count, 1 / count), odd.sum(axis=1) - odd[:, matter].sum(axis=1)
