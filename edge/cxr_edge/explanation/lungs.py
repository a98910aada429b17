"""Input → where its lungs are, and how much of what explains the answer lies in them."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.explanation import CAM_NAMES, CamMethod
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.lime import LimeExplanation
from cxr_edge.explanation.shapley import ShapExplanation
from cxr_edge.explanation.zones import ZoneShare, zone_sentence, zone_shares
from cxr_edge.runtime.sessions import Provider, open_session

# Of the masks that people drew for the Kermany set (`python benchmarks/lungs.py` prints it) every one covers between
# these shares of its picture, in two lungs of which the smaller is never below these shares of picture and larger one.
# The room left is for other ages and framings.
SHARES = (0.08, 0.75)
SMALLER_LUNG = 0.03
_LIKENESS = 0.25
_SPECK = 0.01  # parts below this share of the picture are no lung

# A map that has nothing to do with lungs lies in them with the lungs' own share of the picture. Below 1.2 times that
# share, and wherever most of the evidence lies elsewhere, the answer may rest on what is no lung.
LEAST = 0.5
OVER_CHANCE = 1.2


@dataclass(frozen=True, eq=False)
class LungOutline:
    """Where the lungs are.

    Attributes:
        mask: bool [height, width] of the input, True on lung. The area behind the heart counts as lung.
        implausible: Why this cannot be a pair of lungs, None if it can.
    """

    mask: NDArray[np.bool_]
    implausible: str | None

    @property
    def share(self) -> float:
        """The lungs' share of the picture, 0..1."""
        return float(self.mask.mean())


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much of what speaks for a label lies in the lungs.

    Attributes:
        target: The label that it speaks for.
        outline: Where the lungs are.
        method: Which map ``saliency`` is the share of.
        saliency: Share of the map as it is shown, upsampled to the input; 0..1. None if the map is empty, was not
            asked for, or no lungs were found.
        lime: Share of LIME's positive coefficients, each spread evenly over the pixels of its superpixel; as above.
        shap: The same of the Shapley values.
        zones: Where in the lungs the evidence of ``zones_of`` lies; none where there are no lungs or no evidence.
        zones_of: The most certain of the explanations: Shapley values before LIME before a map.
    """

    target: str
    outline: LungOutline
    method: CamMethod | None
    saliency: float | None
    lime: float | None
    shap: float | None = None
    zones: tuple[ZoneShare, ...] = ()
    zones_of: str = ""

    @property
    def place(self) -> str | None:
        """Where the evidence lies, in words; None where there is nothing to say."""
        return zone_sentence(self.zones, self.target, self.zones_of)

    @property
    def lungs_share(self) -> float | None:
        """The lungs' share of the picture, 0..1; None where none were found."""
        return None if self.outline.implausible else self.outline.share

    @property
    def shares(self) -> dict[str, float]:
        """The shares that could be computed, by the name of what they are a share of."""
        shares = {CAM_NAMES[self.method] if self.method else "": self.saliency, "LIME": self.lime, "SHAP": self.shap}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def sentence(self) -> str | None:
        """The shares in words; None where no lungs were found, which `warnings` says."""
        if self.outline.implausible:
            return None
        if not self.shares:
            return f"Nothing speaks for {self.target}."
        return f"{_in_words(self.shares)} evidence for {self.target} lies in the lungs ({self._size})."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting an answer that was given for these reasons, one sentence each."""
        if self.outline.implausible:
            return (f"No lungs found: {self.outline.implausible}.",)
        least = max(LEAST, OVER_CHANCE * self.outline.share)
        low = {name: share for name, share in self.shares.items() if share < least}
        if not low:
            return ()
        where = f"Only {_in_words(low)} evidence for {self.target} lies in the lungs ({self._size})"
        return (f"{where}: look whether a marker, a tube or the border explains the answer.",)

    @property
    def _size(self) -> str:
        return f"{_percent(self.outline.share)} of the picture"

    def to_json(self) -> dict[str, object]:
        """Give the record: shares 0..1, null where there is none to give."""
        return {
            "lungs_share": self.lungs_share,
            "gradcam_inside": self.saliency,
            "lime_inside": self.lime,
            "shap_inside": self.shap,
            "doubt": self.outline.implausible,
            "zones": [zone.to_json() for zone in self.zones],
            "zones_of": self.zones_of or None,
        }


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
            raise BundleError(
                "has nothing that outlines lungs", cure="add it with cxr-export lungs", path=bundle.folder
            )
        self.session = open_session(bundle.model(spec.file), provider=provider, threads=threads)

    def outline(self, image: NDArray[np.float32]) -> LungOutline:
        """Outline the lungs.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
        """
        logits = self.session.run({"pixels": image[None]}, ["lungs"])[0][0]
        mask = to_mask(logits, *image.shape)
        return LungOutline(mask, _implausible(mask))


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


def measure_evidence(
    outline: LungOutline,
    target: str,
    saliency: SaliencyMap | None,
    lime: LimeExplanation | None,
    shap: ShapExplanation | None = None,
) -> Evidence:
    """Measure how much of the explanations of one input lies in its lungs.

    Args:
        outline: Of the same input.
        target: The label that they speak for.
        saliency: Grad-CAM or a relative, if there is one.
        lime: The LIME explanation, if there is one.
        shap: The Shapley values, if there are any.
    """
    method = saliency.method if saliency else None
    if outline.implausible:
        return Evidence(target, outline, method, None, None)
    weights = {
        "SHAP": shap.superpixels.spread(shap.coefficients) if shap else None,
        "LIME": lime.superpixels.spread(lime.coefficients) if lime else None,
        CAM_NAMES[method] if method else "": saliency.upsample(*outline.mask.shape) if saliency else None,
    }
    shares = [None if each is None else inside_share(each, outline.mask) for each in weights.values()]
    zones_of, chosen = next(((name, each) for name, each in weights.items() if each is not None), ("", None))
    zones = () if chosen is None else zone_shares(outline.mask, chosen)
    return Evidence(target, outline, method, shares[2], shares[1], shares[0], zones, zones_of)


def inside_share(weights: NDArray[Any], mask: NDArray[np.bool_]) -> float | None:
    """Give the share of the positive weight that lies on the mask, 0..1; None where no weight is positive.

    Args:
        weights: [height, width] in any unit.
        mask: bool [height, width].
    """
    positive = np.maximum(np.asarray(weights, np.float64), 0.0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else None


def _implausible(mask: NDArray[np.bool_]) -> str | None:
    share = float(mask.mean())
    if not SHARES[0] <= share <= SHARES[1]:
        return f"what looks like lung covers {100 * share:.0f} % of the picture"
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = np.sort(stats[1:, cv2.CC_STAT_AREA])[::-1] / mask.size
    if len(areas) < 2 or areas[1] < max(SMALLER_LUNG, _LIKENESS * areas[0]):
        return "what looks like lung is not in two parts of like size"
    return None


def _in_words(shares: dict[str, float]) -> str:
    *all_but_last, last = [f"{_percent(share)} of the {name}" for name, share in shares.items()]
    return f"{', '.join(all_but_last)} and {last}" if all_but_last else last


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
