"""Perturbation designs: which superpixels each sample keeps (1) and hides (0)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint8]

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


def _buildable(m: int) -> bool:
    return m in (1, 2) or (m % 4 == 0 and (_paley(m) or _buildable(m // 2)))


def _paley(m: int) -> bool:
    q = m - 1
    return q % 4 == 3 and all(q % divisor for divisor in range(2, int(q**0.5) + 1))
