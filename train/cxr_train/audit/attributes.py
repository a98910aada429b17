"""What an image is like apart from what it shows: size, shape, sharpness, brightness, contrast."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cxr_train.audit.answers import Floats
from cxr_train.dataset import Images


@dataclass(frozen=True, eq=False)
class Attribute:
    """A number that each image has and that says nothing about the lungs.

    Attributes:
        name: What it is.
        values: float64 [N].
    """

    name: str
    values: Floats

    @property
    def short(self) -> str:
        """The name without the unit."""
        return self.name.partition(" (")[0]

    @property
    def varies(self) -> bool:
        """Whether the images differ in it at all."""
        return len(np.unique(self.values)) > 1


SIZE, SHARPNESS = "native size (megapixels)", "sharpness (variance of the Laplacian)"


def attributes(images: Images) -> tuple[Attribute, ...]:
    """Measures images.

    Size and shape are those of the files; the rest is measured on the network's input in grey levels. Copies that were
    brought to one size no longer carry the first two.
    """
    pixels = images.pixels
    size = images.sizes.astype(np.float64)
    return (
        Attribute(SIZE, size.prod(1) / 1e6),
        Attribute("aspect ratio (width by height)", size[:, 1] / size[:, 0]),
        Attribute(SHARPNESS, np.array([cv2.Laplacian(each, cv2.CV_64F).var() for each in pixels])),
        Attribute("brightness (mean)", np.array([each.mean() for each in pixels], np.float64)),
        Attribute("contrast (standard deviation)", np.array([each.std() for each in pixels], np.float64)),
    )
