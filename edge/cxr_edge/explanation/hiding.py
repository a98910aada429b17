"""What becomes of an answer when the places that its map points at are hidden: one number for this very map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation import CAM_NAMES
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.lime import SuperpixelExplanation
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import Prediction

_SIGMA = 10.0  # pixels of the input: no rib is left, and no edge comes up
_HALF = 0.5  # of the peak: what a heat map shows in bright colours


@dataclass(frozen=True)
class Hidden:
    """One map, put to the test.

    Attributes:
        by: Which map: ``gradcam`` or a relative, ``lime`` or ``shap``.
        share: Share of the picture that was hidden, 0..1.
        probability: What the network then says, calibrated, of the positive label, 0..1.
    """

    by: str
    share: float
    probability: float

    def to_json(self) -> dict[str, object]:
        """Give the record."""
        return {"map": self.by, "hidden_share": self.share, "probability": self.probability}


def hide(
    classifier: Classifier,
    prediction: Prediction,
    saliency: SaliencyMap | None,
    superpixels: Sequence[SuperpixelExplanation | None],
) -> tuple[Hidden, ...]:
    """Ask the network again with the leading places of each map blurred.

    That is one point of the deletion curve (Petsiuk et al. 2018; Fong and Vedaldi 2017 for the blur): a map that shows
    what the answer rests on lowers it by much while it hides little.

    Args:
        classifier: The network that answered.
        prediction: Its answer.
        saliency: Hidden where it exceeds half of its peak.
        superpixels: Hidden are the leading ones that speak for the label.

    Returns:
        One for each map that points anywhere.
    """
    places: dict[str, NDArray[np.bool_]] = {}
    if saliency is not None and saliency.peak > 0:
        spread = saliency.upsample(*prediction.input.shape)
        places[saliency.method] = spread >= _HALF * spread.max()
    for each in superpixels:
        if each is not None:
            leaders = [index for index in each.ranking if each.coefficients[index] > 0][: each.top]
            places[each.method] = np.isin(each.superpixels.labels, leaders)
    places = {name: place for name, place in places.items() if place.any()}
    if not places:
        return ()
    blurred = np.asarray(cv2.GaussianBlur(prediction.input, (0, 0), _SIGMA), np.float32)
    inputs: NDArray[np.float32] = np.stack([np.where(place, blurred, prediction.input) for place in places.values()])
    found = classifier.probabilities(inputs)
    return tuple(
        Hidden(name, float(place.mean()), float(probability))
        for (name, place), probability in zip(places.items(), found, strict=True)
    )


def put_to_the_test(hidden: Sequence[Hidden], before: float, *, say: Callable[[float], str]) -> str:
    """Say it in one sentence.

    Args:
        hidden: From `hide`.
        before: The probability that was answered.
        say: Writes a probability.
    """
    names = {str(method): title for method, title in CAM_NAMES.items()}
    found = [
        f"{say(each.probability)} without the {each.share:.0%} of the picture that lead by"
        f" {names.get(each.by, each.by.upper())}"
        for each in hidden
    ]
    return f"Put to the test, leading places blurred: {say(before)} becomes {', '.join(found)}."
