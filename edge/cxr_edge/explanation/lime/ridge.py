"""The surrogate of the ``lime`` package in NumPy: kernel, feature selection and weighted ridge regression."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.lime.estimate import Estimate, Floats
from cxr_edge.explanation.lime.perturbations import Masks

Selection = Literal["auto", "none", "forward_selection", "highest_weights"]

KERNEL_WIDTH = 0.25
_ALPHA = 1.0
_SELECTION_ALPHA = 0.01
_FORWARD_UP_TO = 6


def kernel_weights(masks: Masks) -> Floats:
    """Give masks the weights √exp(-D²/w²), D their cosine distance to the whole picture, w = 0.25.

    The kernel is that of Ribeiro et al. 2016, section 3.3. Against a row of ones that distance is
    1 - √(kept fraction); a mask that keeps nothing is at distance 1.
    """
    distance = 1.0 - np.sqrt(masks.mean(axis=1))
    return np.asarray(np.sqrt(np.exp(-(distance**2) / KERNEL_WIDTH**2)))


class _Equations:
    """Normal equations of weighted least squares with an intercept, for any subset of the features."""

    def __init__(self, masks: Masks, scores: Floats, weights: Floats) -> None:
        share = weights / weights.sum()
        self.means = share @ masks
        self.score_mean = float(share @ scores)
        self.centred = masks - self.means
        self.score_centred = scores - self.score_mean
        weighted = self.centred * weights[:, None]
        self.gram = weighted.T @ self.centred
        self.cross = weighted.T @ self.score_centred
        self.variation = float(weights @ self.score_centred**2)

    def solve(self, used: NDArray[np.intp], alpha: float) -> Floats:
        gram = self.gram[np.ix_(used, used)] + alpha * np.eye(len(used))
        if alpha:
            return np.linalg.solve(gram, self.cross[used])
        return np.linalg.lstsq(gram, self.cross[used])[0]

    def r_squared(self, used: NDArray[np.intp], coefficients: Floats) -> float:
        explained = 2 * self.cross[used] - self.gram[np.ix_(used, used)] @ coefficients
        return float(coefficients @ explained) / self.variation if self.variation > 0 else 1.0


def fit_ridge(masks: Masks, scores: Floats, *, features: int | None = None, selection: Selection = "auto") -> Estimate:
    """Fit the surrogate of ``lime.lime_base.LimeBase.explain_instance_with_data``.

    Args:
        masks: [n, d], the first row all ones.
        scores: [n].
        features: How many superpixels may have a coefficient, at least 1; None means all.
        selection: How they are chosen: ``forward_selection``, ``highest_weights``, ``none`` (all of them) or
            ``auto`` (forward up to six features, else highest weights).

    Returns:
        Coefficients (0 where not chosen) with the sandwich variance of weighted least squares (White 1980).
    """
    count = masks.shape[1]
    features = count if features is None else min(features, count)
    weights = kernel_weights(masks)
    equations = _Equations(masks, scores, weights)
    used = _select(equations, features, selection)
    chosen = equations.solve(used, _ALPHA)

    centred = equations.centred[:, used]
    errors = weights * (equations.score_centred - centred @ chosen)
    inverse = np.linalg.inv(equations.gram[np.ix_(used, used)] + _ALPHA * np.eye(len(used)))
    coefficients, variance = np.zeros(count), np.zeros(count)
    coefficients[used] = chosen
    variance[used] = np.square((centred * errors[:, None]) @ inverse).sum(axis=0)
    return Estimate(
        coefficients=coefficients,
        variance=variance,
        intercept=equations.score_mean - float(equations.means @ coefficients),
        r_squared=equations.r_squared(used, chosen),
        samples=len(masks),
    )


def _select(equations: _Equations, features: int, selection: Selection) -> NDArray[np.intp]:
    everything = np.arange(len(equations.means))
    if selection == "auto":
        selection = "forward_selection" if features <= _FORWARD_UP_TO else "highest_weights"
    if selection == "none":
        return everything
    if selection == "highest_weights":
        coefficients = equations.solve(everything, _SELECTION_ALPHA)
        return np.argsort(-np.abs(coefficients), kind="stable")[:features]
    used: list[int] = []
    for _ in range(features):
        candidates = [np.array([*used, feature]) for feature in everything if feature not in used]
        scores = [equations.r_squared(subset, equations.solve(subset, 0.0)) for subset in candidates]
        used = list(candidates[int(np.argmax(scores))])
    return np.array(used)
