"""Training batches: drawn, varied and stacked in the background, the same for the same seed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_train.augmentation import Augmentation, augment

LUNG_GRID = 28


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        pixels: float32 [B, H, W] in 0..255.
        labels: int32 [B].
        lungs: float32 [B, cells, cells]: the share of each cell that is lung; NaN where unknown.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int32]
    lungs: NDArray[np.float32]


@dataclass(frozen=True)
class Batches:
    """Batches of one set of images.

    Attributes:
        pixels: uint8 [N, H, W].
        labels: int32 [N].
        masks: uint8 [N, H, W] with 0 outside, 255 lung, 127 unknown; None where there are no masks.
        size: Images per batch; the last one may be smaller.
        augmentation: What is varied.
        seed: With the epoch and the batch's number, decides everything.
        grid: Cells a side of what is said about the lungs.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    masks: NDArray[np.uint8] | None
    size: int
    augmentation: Augmentation
    seed: int
    grid: int = LUNG_GRID

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.labels) / self.size)

    def epoch(self, number: int, *, ahead: int = 6) -> Iterator[Batch]:
        """Yields the batches of one epoch, made ``ahead`` of use by two threads (OpenCV releases the lock)."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.labels))
        pending: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(2) as pool:
            for step in range(len(self)):
                rows = order[step * self.size : (step + 1) * self.size]
                pending.append(pool.submit(self._batch, rows, np.random.default_rng([self.seed, number, step])))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        pixels, lungs = [], []
        for row in rows:
            other = self.pixels[rng.integers(len(self.pixels))].astype(np.float32)
            varied, mask = augment(
                self.pixels[row].astype(np.float32), self._mask(row), other, amount=self.augmentation, rng=rng
            )
            pixels.append(varied)
            lungs.append(_grid(mask, self.grid))
        return Batch(np.stack(pixels), self.labels[rows], np.stack(lungs))

    def _mask(self, row: int) -> NDArray[np.float32] | None:
        if self.masks is None:
            return None
        levels = self.masks[row]
        mask = levels.astype(np.float32) / 255
        mask[levels == 127] = np.nan
        return None if np.isnan(mask).all() else mask


def _grid(mask: NDArray[np.float32] | None, cells: int) -> NDArray[np.float32]:
    if mask is None:
        return np.full((cells, cells), np.nan, np.float32)
    return cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA)
