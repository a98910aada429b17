"""Input → where its lungs are, and how much of a map lies in them."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.runtime.sessions import Provider, open_session

# Of the masks that people drew for the Kermany set (`python benchmarks/lungs.py` prints it) every one covers between
# these shares of its picture, in two lungs of which the smaller is never below these shares of picture and larger one.
# The room left is for other ages and framings.
SHARES = (0.08, 0.75)
SMALLER_LUNG = 0.03
_LIKENESS = 0.25
_SPECK = 0.01  # parts below this share of the picture are no lung


@dataclass(frozen=True, eq=False)
class LungOutline:
    """Where the lungs are.

    Attributes:
        mask: bool [height, width] of the input, True on lung. The area behind the heart counts as lung.
        doubt: Why this cannot be a pair of lungs, None if it can.
    """

    mask: NDArray[np.bool_]
    doubt: str | None

    @property
    def share(self) -> float:
        """The lungs' share of the picture, 0..1."""
        return float(self.mask.mean())


class LungSegmenter:
    """The small network of a bundle that outlines the lungs.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.

    Raises:
        BundleError: The bundle has no such network.
        ProviderError: See `open_session`.
    """

    def __init__(self, bundle: Bundle, *, provider: Provider = "auto", threads: int | None = None) -> None:
        spec = bundle.manifest.lungs
        if spec is None:
            raise BundleError(f"{bundle.folder}: has nothing that outlines lungs; add it with cxr-export lungs")
        self.session = open_session(bundle.model(spec.file), provider=provider, threads=threads)

    def outline(self, image: NDArray[np.float32]) -> LungOutline:
        """Outline the lungs.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
        """
        logits = self.session.run({"pixels": image[None]}, ["lungs"])[0][0]
        mask = to_mask(logits, *image.shape)
        return LungOutline(mask, _doubt(mask))


def to_mask(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Turn the segmenter's output into a mask; training measures its Dice coefficient on the same.

    Args:
        logits: float32 [h, w], the log-odds of lung, at any resolution.
        height: Rows of the mask.
        width: Columns of the mask.

    Returns:
        bool [height, width]: where lung is more likely than not (logits interpolated bilinearly), without specks.
    """
    large = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    _, parts, stats, _ = cv2.connectedComponentsWithStats((large > 0).astype(np.uint8), connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= _SPECK * large.size
    kept[0] = False
    return np.asarray(kept[parts], np.bool_)


def inside_share(weights: NDArray[Any], mask: NDArray[np.bool_]) -> float | None:
    """Give the share of the positive weight that lies on the mask, 0..1; None where no weight is positive.

    Args:
        weights: [height, width] in any unit.
        mask: bool [height, width].
    """
    positive = np.maximum(np.asarray(weights, np.float64), 0.0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else None


def _doubt(mask: NDArray[np.bool_]) -> str | None:
    share = float(mask.mean())
    if not SHARES[0] <= share <= SHARES[1]:
        return f"what looks like lung covers {100 * share:.0f} % of the picture"
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = np.sort(stats[1:, cv2.CC_STAT_AREA])[::-1] / mask.size
    if len(areas) < 2 or areas[1] < max(SMALLER_LUNG, _LIKENESS * areas[0]):
        return "what looks like lung is not in two parts of like size"
    return None
