"""Bundles whose answers are known by arithmetic, and settings around them."""

from pathlib import Path

import numpy as np

from cxr_edge.api import load
from cxr_train.audit.answers import Setting
from cxr_train.dataset import Images, Sample
from tiny import BIAS, SCALE, TinyNetwork

TURN = 120.0  # the grey level at which a brightness network changes its mind
STEEP = 40.0


class BrightnessNetwork(TinyNetwork):
    """PNEUMONIA where the mean grey level is above `TURN`, and nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        for each in (self.kernel, self.hidden, self.hidden_bias, self.logits, self.logits_bias):
            each[:] = 0
        self.kernel[0], self.kernel[1] = 1 / self.kernel[0].size, -1 / self.kernel[0].size
        self.hidden[0, 0], self.hidden[1, 0], self.hidden_bias[0] = 1, -1, 2  # what is left is mean / 127.5 + 1
        self.logits[0, 1] = STEEP
        self.logits_bias[1] = -STEEP * (TURN / 127.5 + 1) - BIAS / SCALE


def setting_of(bundle: Path, pixels: np.ndarray, labels: list[int], masks: np.ndarray | None = None) -> Setting:
    """A setting around made-up images of as many patients."""
    samples = tuple(
        Sample(Path(f"{row}.png"), label, "test", f"patient {row}", "IM" if row % 2 else "other", str(row))
        for row, label in enumerate(labels)
    )
    sizes = np.full((len(labels), 2), 224, np.int32)
    images = Images(samples, pixels, (), sizes)
    return Setting.of(load(bundle, provider="cpu", threads=1), images, masks=masks, resamples=20, seed=0)


def flat(*levels: float) -> np.ndarray:
    """Images of one grey level each."""
    return np.stack([np.full((224, 224), level, np.uint8) for level in levels])
