"""Where the evidence lies, in words: by lung and by third of its height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Side = Literal["right", "left"]
Height = Literal["upper", "middle", "lower"]
_HEIGHTS: tuple[Height, ...] = ("upper", "middle", "lower")
_WORTH_SAYING = 0.1  # a second zone is named from this share on
_MOST = 0.5


@dataclass(frozen=True)
class ZoneShare:
    """How much of what speaks for a label lies in one zone of one lung.

    Attributes:
        side: The patient's right or left. On a radiograph that is shown as usual, seen from the front, the patient's
            right is on the left of the picture.
        height: Which third of that lung's height.
        share: Share of the positive evidence, 0..1.
    """

    side: Side
    height: Height
    share: float

    @property
    def name(self) -> str:
        """Such as ``lower right lung``."""
        return f"{self.height} {self.side} lung"

    def to_json(self) -> dict[str, object]:
        """Give the record."""
        return {"side": self.side, "height": self.height, "share": self.share}


def zone_shares(mask: NDArray[np.bool_], weights: NDArray[np.floating]) -> tuple[ZoneShare, ...]:
    """Share the positive evidence out among the zones of two lungs; what is missing to 1 lies outside of them.

    Args:
        mask: bool [height, width], a plausible pair of lungs.
        weights: [height, width], what speaks for the label, in any unit.

    Returns:
        Six zones, the largest share first; none where nothing is positive.
    """
    positive = np.maximum(np.asarray(weights, np.float64), 0.0)
    total = float(positive.sum())
    if total <= 0:
        return ()
    _, parts, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:2]
    found = []
    sides: tuple[Side, ...] = ("right", "left")
    for side, part in zip(sides, sorted(largest, key=lambda each: centres[each][0]), strict=False):
        lung = parts == part
        rows = np.flatnonzero(lung.any(axis=1))
        cuts = np.linspace(rows[0], rows[-1] + 1, len(_HEIGHTS) + 1).round().astype(int)
        for height, top, bottom in zip(_HEIGHTS, cuts[:-1], cuts[1:], strict=True):
            found.append(ZoneShare(side, height, float(positive[top:bottom][lung[top:bottom]].sum()) / total))
    return tuple(sorted(found, key=lambda zone: -zone.share))


def zone_sentence(zones: tuple[ZoneShare, ...], target: str, method: str) -> str | None:
    """Say where the evidence lies; None where there is none.

    Args:
        zones: From `zone_shares`.
        target: The label that it speaks for.
        method: What found it, such as ``LIME``.
    """
    if not zones:
        return None
    first, second = zones[:2]
    outside = max(0.0, 1 - sum(zone.share for zone in zones))
    what = f"what speaks for {target}"
    if outside > _MOST:
        start = f"By {method}, most of {what} lies outside the lungs ({outside:.0%}); "
        start += f"within them, the largest part lies in the {first.name} ({first.share:.0%})"
    else:
        amount = "most" if first.share > _MOST else "the largest part"
        start = f"By {method}, {amount} of {what} lies in the {first.name} ({first.share:.0%})"
        if second.share >= _WORTH_SAYING:
            start += f", then in the {second.name} ({second.share:.0%})"
        start += f"; {outside:.0%} lies outside the lungs"
    return f"{start}. Right and left are the patient's.".replace("%", " %")
