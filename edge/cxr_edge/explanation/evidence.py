"""Does the evidence lie in the lungs? What a person would check by eye, as numbers."""

from dataclasses import dataclass

from cxr_edge.explanation.lime.explanation import LimeExplanation
from cxr_edge.explanation.lungs import LungOutline, inside_share
from cxr_edge.explanation.saliency import CamMethod, SaliencyMap

CAM_NAMES: dict[CamMethod, str] = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "gradcam++": "Grad-CAM++"}

# Evidence that knows nothing of lungs lies in them with the lungs' own share of the picture; below 1.2 times that, and
# wherever most of the evidence lies elsewhere, the answer may rest on what is no lung.
LEAST = 0.5
OVER_CHANCE = 1.2


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
    """

    target: str
    outline: LungOutline
    method: CamMethod | None
    saliency: float | None
    lime: float | None

    @property
    def lungs_share(self) -> float | None:
        """The lungs' share of the picture, 0..1; None where none were found."""
        return None if self.outline.doubt else self.outline.share

    @property
    def named(self) -> dict[str, float]:
        """The shares that could be had, by the name of what they are a share of."""
        shares = {CAM_NAMES[self.method] if self.method else "": self.saliency, "LIME": self.lime}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def sentence(self) -> str | None:
        """The shares in words; None where no lungs were found, which `warnings` says."""
        if self.outline.doubt:
            return None
        if not self.named:
            return f"Nothing speaks for {self.target}."
        return f"{_said(self.named)} evidence for {self.target} lies in the lungs ({self._size})."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting an answer that was given for these reasons, one sentence each."""
        if self.outline.doubt:
            return (f"No lungs found: {self.outline.doubt}.",)
        least = max(LEAST, OVER_CHANCE * self.outline.share)
        low = {name: share for name, share in self.named.items() if share < least}
        where = f"Only {_said(low)} evidence for {self.target} lies in the lungs ({self._size})"
        return (f"{where}: look whether a marker, a tube or the border explains the answer.",) if low else ()

    @property
    def _size(self) -> str:
        return f"{_percent(self.outline.share)} of the picture"

    def to_json(self) -> dict[str, object]:
        """Give the record: shares 0..1, null where there is none to give."""
        return {
            "lungs_share": self.lungs_share,
            "gradcam_inside": self.saliency,
            "lime_inside": self.lime,
            "doubt": self.outline.doubt,
        }


def weigh(
    outline: LungOutline, target: str, saliency: SaliencyMap | None, explained: LimeExplanation | None
) -> Evidence:
    """Measure how much of the explanations of one input lies in its lungs.

    Args:
        outline: Of the same input.
        target: The label that they speak for.
        saliency: Grad-CAM or a relative, if there is one.
        explained: The LIME explanation, if there is one.
    """
    method = saliency.method if saliency else None
    if outline.doubt:
        return Evidence(target, outline, method, None, None)
    return Evidence(
        target,
        outline,
        method,
        inside_share(saliency.upsample(*outline.mask.shape), outline.mask) if saliency else None,
        inside_share(explained.superpixels.spread(explained.coefficients), outline.mask) if explained else None,
    )


def _said(shares: dict[str, float]) -> str:
    return " and ".join(f"{_percent(share)} of the {name}" for name, share in shares.items())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
