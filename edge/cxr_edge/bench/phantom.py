"""A made-up radiograph, so that a machine can be measured before anybody has put a picture on it."""

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 1084, 1384  # in the middle of the originals that the shipped network was trained on
_SEED = 2018


def phantom() -> NDArray[np.uint8]:
    """Draw two lungs, ribs, a spine, a heart and film grain: uint8 [1084, 1384], the same every time.

    It costs what a radiograph of that size costs to decode and to answer. The answer itself means nothing.
    """
    scale = 4  # drawn small and enlarged, so that no edge is sharper than on film
    small = np.full((HEIGHT // scale, WIDTH // scale), 40.0, np.float32)
    height, width = small.shape
    middle = width // 2

    def ellipse(x: float, y: float, half_width: float, half_height: float, grey: float, angle: float = 0.0) -> None:
        centre, axes = (round(x * width), round(y * height)), (round(half_width * width), round(half_height * height))
        cv2.ellipse(small, centre, axes, angle, 0, 360, grey, cv2.FILLED, cv2.LINE_AA)

    ellipse(0.5, 0.55, 0.42, 0.62, 165)  # the trunk
    ellipse(0.3, 0.48, 0.13, 0.36, 62, 6)
    ellipse(0.7, 0.48, 0.13, 0.36, 62, -6)
    cv2.rectangle(small, (middle - width // 28, 0), (middle + width // 28, height), 200, cv2.FILLED)
    ellipse(0.56, 0.64, 0.13, 0.2, 190, 20)  # the heart
    ellipse(0.5, 1.06, 0.42, 0.24, 205)  # below the diaphragm
    ribs = small.copy()
    for number in range(9):
        y = 0.12 + 0.085 * number
        for x, angle in ((0.3, -14), (0.7, 14)):
            centre, axes = (round(x * width), round(y * height)), (round(0.16 * width), round(0.07 * height))
            cv2.ellipse(ribs, centre, axes, angle, 180, 360, 225, max(2, height // 50), cv2.LINE_AA)
    small = cv2.GaussianBlur(0.75 * small + 0.25 * ribs, (0, 0), 2.0)
    picture = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    random = np.random.default_rng(_SEED)
    for grain, sigma in ((3.0, 0.7), (18.0, 6.0), (60.0, 30.0)):  # film grain, vessels, uneven tissue
        picture += cv2.GaussianBlur(random.normal(0, grain * sigma, picture.shape).astype(np.float32), (0, 0), sigma)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def phantom_jpeg() -> bytes:
    """Encode the phantom as a JPEG of about the size that such a radiograph has."""
    return bytes(cv2.imencode(".jpeg", phantom(), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
