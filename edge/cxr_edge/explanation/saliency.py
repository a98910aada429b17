"""Saliency maps: what Grad-CAM and its relatives give."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

CamMethod = Literal["gradcam", "hirescam", "gradcam++"]


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """How much each place of the last convolutional map speaks for a class.

    Attributes:
        raw: float32 [h, w], ≥ 0, in units of the class's logit per feature-map cell; before any scaling.
        method: Which map.
        target: The label that it speaks for.
    """

    raw: NDArray[np.float32]
    method: CamMethod
    target: str

    @property
    def peak(self) -> float:
        """The largest value of ``raw``, which `normalised` divides by; 0 where nothing speaks for the class."""
        return float(self.raw.max())

    @property
    def normalised(self) -> NDArray[np.float32]:
        """``raw`` divided by its peak: float32 [h, w] in 0..1, or all 0."""
        return self.raw / np.float32(self.peak) if self.peak > 0 else self.raw

    def upsample(self, height: int, width: int) -> NDArray[np.float32]:
        """Spread the normalised map over a picture of any size and aspect ratio.

        The input was squashed, so that each cell covers ``width/w`` by ``height/h`` pixels of the original.

        Returns:
            float32 [height, width] in 0..1, bicubic, clipped.
        """
        large = cv2.resize(self.normalised, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(np.clip(large, 0.0, 1.0), np.float32)

    def to_json(self) -> dict[str, object]:
        """Give the raw map and how it is scaled for display."""
        return {
            "method": self.method,
            "target": self.target,
            "normalisation": {"kind": "divide by peak", "peak": self.peak},
            "raw": [[float(value) for value in row] for row in self.raw],
        }
