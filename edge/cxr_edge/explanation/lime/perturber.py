"""Masks → perturbed inputs, composed in one buffer that is used again for every batch."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.lime.design import Masks
from cxr_edge.explanation.superpixels import Superpixels

BATCH = 16
"""Inputs a run: from 8 to 32 the time per input hardly differs. Composing a batch takes 2 % of its inference, so that
neither composing in the graph, nor IO binding, nor a second thread to compose in would save anything."""


class Perturber:
    """An input whose superpixels can be hidden, that is, painted with their mean grey level.

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
