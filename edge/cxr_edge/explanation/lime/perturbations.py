"""Perturbations and the inputs that they give, and the weighted ridge regression of the ``lime`` package in NumPy.

A perturbation says which superpixels a sample keeps (1) and hides (0).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation import Fill
from cxr_edge.explanation.lime.surrogate import Estimate, Floats
from cxr_edge.explanation.superpixels import Superpixels

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


Masks = NDArray[np.uint8]

BATCH = 16
"""Inputs a run: from 8 to 32 the time per input hardly differs. Composing a batch takes 2 % of its inference, so that
neither composing in the graph, nor IO binding, nor a second thread to compose in would save anything."""

MAX_EXACT = 7
"""Up to this many superpixels every one of the 2^d masks is evaluated: no more than one folded block."""


def independent(count: int, samples: int, random: np.random.RandomState) -> Masks:
    """Draw the neighbourhood of ``lime.lime_image``: fair coins, the first row the picture itself.

    The legacy generator is the package's own; only with it do the same seeds give the same masks.

    Args:
        count: Number of superpixels d.
        samples: Number of masks n.
        random: Generator, moved on by n·d draws.

    Returns:
        uint8 [n, d].
    """
    masks = random.randint(0, 2, samples * count).reshape(samples, count).astype(np.uint8)
    masks[0] = 1
    return masks


def exhaustive(count: int) -> Masks:
    """Every mask once, the picture itself first: uint8 [2^d, d]."""
    return ((np.arange(2**count)[::-1, None] >> np.arange(count)) & 1).astype(np.uint8)


def folded_hadamard(count: int, random: np.random.Generator) -> Masks:
    """Draw one block of a randomised two-level orthogonal design of strength three.

    The columns of a Hadamard matrix are mutually orthogonal; following each row by its complement (Box and Hunter
    1961, "foldover") frees every main effect from every pairwise interaction. Which column serves which superpixel,
    every column's sign and the order of the rows are drawn at random, so that what is left (three-way interactions)
    becomes noise with mean zero that differs from block to block.

    Args:
        count: Number of superpixels d.
        random: Generator.

    Returns:
        uint8 [2m, d], m = :func:`order` (d); rows 2i and 2i+1 are complements.
    """
    matrix = hadamard(order(count))
    m = len(matrix)
    columns = matrix[:, random.permutation(m)[:count]] * random.choice(np.array([-1, 1], np.int8), count)
    kept = (columns[random.permutation(m)] > 0).astype(np.uint8)
    return np.stack([kept, 1 - kept], axis=1).reshape(2 * m, count)


class FoldedBlocks:
    """Perturbations from one block of `folded_hadamard` after the other.

    Args:
        count: Number of superpixels d.
        random: Generator.
    """

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self._count = count
        self._random = random
        self._drawn = np.empty((0, count), np.uint8)

    def draw(self, size: int) -> Masks:
        """Give the next ones: uint8 [size, d]."""
        while len(self._drawn) < size:
            self._drawn = np.concatenate([self._drawn, folded_hadamard(self._count, self._random)])
        masks, self._drawn = self._drawn[:size], self._drawn[size:]
        return masks


def order(count: int) -> int:
    """Give the smallest order m > d of a Hadamard matrix that :func:`hadamard` can build.

    Strictly more columns than superpixels: the columns left over measure the noise of the block.
    """
    return next(m for m in range(count + 1, 4 * count + 8) if _buildable(m))


@lru_cache(maxsize=8)
def hadamard(m: int) -> NDArray[np.int8]:
    """Build a Hadamard matrix by Paley's first construction and Sylvester's doubling: int8 [m, m] of ±1."""
    if m == 1:
        return np.ones((1, 1), np.int8)
    if m == 2 or not _paley(m):
        half = hadamard(m // 2)
        return np.block([[half, half], [half, -half]])
    q = m - 1
    residues = np.full(q, -1, np.int8)
    residues[np.arange(q) ** 2 % q] = 1
    residues[0] = 0
    matrix = np.ones((m, m), np.int8)
    matrix[1:, 0] = -1
    matrix[1:, 1:] = residues[(np.arange(q)[:, None] - np.arange(q)) % q] + np.eye(q, dtype=np.int8)
    return matrix


class Perturber:
    """An input whose superpixels can be hidden: by their mean grey level, by the blurred picture, or by black.

    The inputs are composed in one buffer that is used again for every batch.

    Args:
        image: float32 [height, width], grey levels 0..255.
        superpixels: Its regions.
        fill: What hides a superpixel. The blur is a Gaussian whose standard deviation is half the side of a square of
            the superpixels' mean size.
    """

    def __init__(self, image: NDArray[np.float32], superpixels: Superpixels, *, fill: Fill = "mean") -> None:
        self._shown = image
        if fill == "mean":
            self._hidden = superpixels.paint(superpixels.means(image))
        elif fill == "black":
            self._hidden = np.zeros_like(image)
        else:
            deviation = 0.5 * (image.size / superpixels.count) ** 0.5
            self._hidden = np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.float32)
        self._labels = superpixels.labels
        self._masks = np.empty((BATCH, *image.shape), bool)
        self._inputs = np.empty((BATCH, *image.shape), np.float32)

    @property
    def flat(self) -> bool:
        """Whether hiding changes nothing, to a thousandth of a grey level."""
        return bool(np.abs(self._shown - self._hidden).max() < 1e-3)

    def batches(self, masks: Masks) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Compose inputs batch by batch.

        Args:
            masks: [n, d], 1 where a superpixel is shown.

        Yields:
            Which masks, and float32 [≤ 16, height, width]; valid until the next is asked for.
        """
        shown = masks.astype(bool)
        for start in range(0, len(masks), BATCH):
            part = slice(start, min(start + BATCH, len(masks)))
            size = part.stop - start
            mask, inputs = self._masks[:size], self._inputs[:size]
            np.take(shown[part], self._labels, axis=1, out=mask, mode="clip")  # any mode but "raise" skips a copy
            inputs[:] = self._hidden
            np.copyto(inputs, self._shown, where=mask)
            yield part, inputs


def _buildable(m: int) -> bool:
    return m in (1, 2) or (m % 4 == 0 and (_paley(m) or _buildable(m // 2)))


def _paley(m: int) -> bool:
    q = m - 1
    return q % 4 == 3 and all(q % divisor for divisor in range(2, int(q**0.5) + 1))
