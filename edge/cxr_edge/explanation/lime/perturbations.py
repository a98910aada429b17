"""Perturbations: which superpixels each sample keeps (1) and hides (0), and the inputs that this gives."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.superpixels import Superpixels

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
    """An input whose superpixels can be hidden, that is, painted with their mean grey level.

    The inputs are composed in one buffer that is used again for every batch.

    Args:
        image: float32 [height, width], grey levels 0..255.
        superpixels: Its regions.
    """

    def __init__(self, image: NDArray[np.float32], superpixels: Superpixels) -> None:
        self._shown = image
        self._hidden = superpixels.paint(superpixels.means(image))
        self._labels = superpixels.labels
        self._masks = np.empty((BATCH, *image.shape), bool)
        self._inputs = np.empty((BATCH, *image.shape), np.float32)

    @property
    def flat(self) -> bool:
        """Whether hiding changes nothing: every superpixel is of one grey level (to a thousandth)."""
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
