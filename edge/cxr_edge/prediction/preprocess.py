"""The one way from a radiograph to what the network takes; training, export and serving all use it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.reading.radiograph import Radiograph


def to_input(radiograph: Radiograph, *, height: int = 224, width: int = 224) -> NDArray[np.float32]:
    """Squash a radiograph to the input size by plain bilinear interpolation and scale it to 0..255.

    No letterbox, because padding would show the network the aspect ratio, and no antialiasing, because the
    224-pixel copies of the training set were made without. The interpolation runs in float32 on the stored
    grey values, so that a 16-bit image keeps its depth and nothing is rounded.

    Args:
        radiograph: The decoded image, of any size.
        height: Rows of the input.
        width: Columns of the input.

    Returns:
        float32 [height, width] in 0..255.
    """
    pixels = radiograph.pixels.astype(np.float32)
    if pixels.shape != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return pixels * np.float32(255.0 / radiograph.maximum)
