"""Superpixels: the connected regions of a radiograph that LIME switches on and off."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation import DEFAULT_SUPERPIXELS, PIXELS_A_SUPERPIXEL, Segmentation

_ITERATIONS = 6
_HALF = 2  # clustering runs on a copy of half the size: four times cheaper
_GREY_PER_STEP = 0.9  # standard deviations of local grey level that weigh as much as one grid step of distance


@dataclass(frozen=True)
class Superpixels:
    """A partition of the input into regions.

    Attributes:
        labels: int32 [height, width], region of each pixel, 0 … count-1, every number used.
        method: how the regions were made.
    """

    labels: NDArray[np.int32]
    method: Segmentation

    @property
    def count(self) -> int:
        """Number of regions."""
        return int(self.labels.max()) + 1

    def means(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean grey level of each region: float32 [count], in the units of ``image`` [height, width]."""
        flat = self.labels.ravel()
        sums = np.bincount(flat, weights=image.ravel(), minlength=self.count)
        return (sums / np.bincount(flat, minlength=self.count)).astype(np.float32)

    def paint(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value per region [count] spread over its pixels: [height, width]."""
        return values[self.labels]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """One value per region [count] shared out evenly among its pixels: [height, width], with the sum of values."""
        return values[self.labels] / np.bincount(self.labels.ravel(), minlength=self.count)[self.labels]

    def to_json(self) -> dict[str, object]:
        """The method and the number of regions."""
        return {"method": self.method, "count": self.count}


def segment(
    image: NDArray[np.float32], *, method: Segmentation = "slic", count: int = DEFAULT_SUPERPIXELS
) -> Superpixels:
    """Partition an input into superpixels, the same ones every time.

    Args:
        image: float32 [height, width], grey levels 0..255.
        method: ``slic`` (fast, follows the picture), ``grid`` (rectangles) or ``quickshift`` (the default of the
            ``lime`` package, needs its scikit-image; ignores ``count``).
        count: about how many regions; a small input gets fewer, so that each has room for 64 pixels.
    """
    height, width = image.shape
    count = max(1, min(count, height * width // PIXELS_A_SUPERPIXEL))
    if method == "grid":
        labels = _grid(height, width, count)
    elif method == "slic":
        labels = _slic(image, count)
    else:
        labels = _quickshift(image)
    return Superpixels(labels, method)


def _grid(height: int, width: int, count: int) -> NDArray[np.int32]:
    rows = max(1, round((count * height / width) ** 0.5))
    columns = max(1, round(count / rows))
    y = np.arange(height) * rows // height
    x = np.arange(width) * columns // width
    return (y[:, None] * columns + x[None, :]).astype(np.int32)


def _slic(image: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """SLIC (Achanta et al. 2012, Algorithm 1) with every centre searched everywhere.

    A grey image has no colour to hold clusters together and k-means on its raw grey levels yields either a
    chessboard or scattered speckle. Grey levels are therefore smoothed and divided by their local standard deviation,
    so that one compactness suits soft tissue and lung alike.
    """
    height, width = image.shape
    small = cv2.resize(image, (max(1, width // _HALF), max(1, height // _HALF)), interpolation=cv2.INTER_AREA)
    step = (small.size / count) ** 0.5
    smooth = cv2.GaussianBlur(small, (0, 0), step / 8)
    local = smooth - cv2.GaussianBlur(smooth, (0, 0), 2 * step)
    spread = np.sqrt(cv2.GaussianBlur(local * local, (0, 0), 2 * step))
    # The floor keeps film noise in an empty background from drawing the borders.
    grey = local / np.maximum(spread, 4.0) / _GREY_PER_STEP

    y, x = np.mgrid[: small.shape[0], : small.shape[1]].astype(np.float32)
    points = np.stack([x.ravel() / step, y.ravel() / step, grey.ravel()])
    labels = _grid(small.shape[0], small.shape[1], count).ravel()
    for _ in range(_ITERATIONS):
        size = np.bincount(labels)
        centres = np.stack([np.bincount(labels, weights=values) for values in points])
        centres = (centres[:, size > 0] / size[size > 0]).astype(np.float32)
        # argmin |p-c|² = argmin |c|² - 2 p·c. Not by BLAS: its threads would go on spinning in the network's way,
        # which cost 0.1 s of the first batch.
        products = np.einsum("ck,cp->kp", centres, points)
        labels = np.argmin((centres**2).sum(axis=0)[:, None] - 2 * products, axis=0)
    connected = _connect(labels.reshape(small.shape).astype(np.int32))
    return np.asarray(cv2.resize(connected, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.int32)


def _connect(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the largest piece of every region and give the other pixels to the nearest kept one."""
    kept = np.zeros(labels.shape, np.int32)
    number = 0
    for label in range(int(labels.max()) + 1):
        mask = (labels == label).astype(np.uint8)
        pieces, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        if pieces > 1:
            number += 1
            kept[parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))] = number
    while not kept.all():  # grow the kept regions one pixel at a time: pieces stay connected
        neighbours = np.pad(kept, 1)
        for shifted in (
            neighbours[:-2, 1:-1],
            neighbours[2:, 1:-1],
            neighbours[1:-1, :-2],
            neighbours[1:-1, 2:],
        ):
            kept = np.where(kept == 0, shifted, kept)
    return kept - 1


def _quickshift(image: NDArray[np.float32]) -> NDArray[np.int32]:
    """The package's default segmentation (``lime.lime_image``): quickshift 4/200/0.2 on the RGB copy."""
    from skimage.segmentation import quickshift  # optional, see `LimeOptions`, and slow to import

    rgb = np.repeat(np.clip(np.rint(image), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    labels = quickshift(rgb, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    return np.unique(labels, return_inverse=True)[1].reshape(image.shape).astype(np.int32)
