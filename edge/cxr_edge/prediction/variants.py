"""Test-time augmentation: how far changes that mean nothing move an answer."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import Prediction, Spread

Input = NDArray[np.float32]
_SHIFT, _ZOOM, _TURN = 0.02, 0.03, 2.0  # of the side, of the size, degrees
_GAMMA, _CONTRAST, _BLUR = 0.1, 0.1, 0.7  # of the exponent, of the deviation from the mean, pixels


def variants(image: Input) -> dict[str, Input]:
    """Change an input in ways that leave its content as it is, each alone.

    Args:
        image: float32 [height, width] in 0..255.

    Returns:
        By name, arrays of the same shape and range: shifts, turns and zooms (what comes in from outside repeats the
        border), gamma, contrast about the mean, blur.
    """
    height, width = image.shape
    right, down = max(1.0, round(_SHIFT * width)), max(1.0, round(_SHIFT * height))
    level = float(image.mean())
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), _BLUR), np.float32)
    return {
        "shift left": _moved(image, right=-right),
        "shift right": _moved(image, right=right),
        "shift up": _moved(image, down=-down),
        "shift down": _moved(image, down=down),
        f"turn -{_TURN:g} degrees": _moved(image, angle=-_TURN),
        f"turn +{_TURN:g} degrees": _moved(image, angle=_TURN),
        f"zoom {1 - _ZOOM:g}": _moved(image, scale=1 - _ZOOM),
        f"zoom {1 + _ZOOM:g}": _moved(image, scale=1 + _ZOOM),
        f"gamma {1 - _GAMMA:g}": 255 * (image / 255) ** np.float32(1 - _GAMMA),
        f"gamma {1 + _GAMMA:g}": 255 * (image / 255) ** np.float32(1 + _GAMMA),
        f"contrast {1 - _CONTRAST:g}": np.clip(level + (image - level) * np.float32(1 - _CONTRAST), 0, 255),
        f"contrast {1 + _CONTRAST:g}": np.clip(level + (image - level) * np.float32(1 + _CONTRAST), 0, 255),
        f"blur {_BLUR:g} px": blurred,
    }


def spread(classifier: Classifier, image: Input, prediction: Prediction) -> Spread:
    """Say how far changes that mean nothing move an answer; costs as much as so many predictions.

    A probability that a shift by a few pixels or a slightly darker print would have made another one is less sure than
    it says (Ayhan and Berens 2018, section 2; Wang et al. 2019, section 2.3). The variants are fixed, so that the same
    radiograph always gets the same spread; a mirrored one is not among them, because the heart has its side.

    Args:
        classifier: Who answers.
        image: float32 [height, width] in 0..255, from `to_input`.
        prediction: What the classifier says of the image itself.
    """
    changed = variants(image)
    probabilities = classifier.probabilities(np.stack(list(changed.values()))).astype(np.float64)
    return Spread(
        transforms=len(changed),
        mean=float(probabilities.mean()),
        standard_deviation=float(probabilities.std()),
        lowest=float(probabilities.min()),
        highest=float(probabilities.max()),
        label_changed_by=tuple(
            name
            for name, other in zip(changed, probabilities, strict=True)
            if classifier.rule.label(float(other)) != prediction.label
        ),
    )


def _moved(image: Input, *, right: float = 0.0, down: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Input:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix[:, 2] += right, down
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
