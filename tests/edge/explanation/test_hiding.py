"""A map is put to the test: the network answers again without the places that it points at."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge import load
from cxr_edge.api import Model
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.hiding import hide

SAMPLE = Path(__file__).parents[2] / "data" / "radiographs" / "NORMAL2-IM-0588-0001.jpeg"


@pytest.fixture(scope="module")
def model() -> Model:
    return load(provider="cpu", precision="fp32")


def test_only_the_places_above_half_of_the_peak_are_blurred_and_the_network_is_asked_again(model: Model) -> None:
    prediction = model.predict(SAMPLE).prediction
    raw = np.zeros((7, 7), np.float32)
    raw[3, 2] = 5.0
    saliency = SaliencyMap(raw, "gradcam", "PNEUMONIA")
    (found,) = hide(model.classifier, prediction, saliency, ())
    spread = saliency.upsample(224, 224)
    place = spread >= 0.5 * spread.max()
    blurred = np.where(place, cv2.GaussianBlur(prediction.input, (0, 0), 10), prediction.input)
    assert (found.by, found.share) == ("gradcam", place.mean())
    assert 0.005 < found.share < 0.05  # half of one cell's reach: one of 49 cells
    assert found.probability == pytest.approx(float(model.classifier.probabilities(blurred[None])[0]), abs=1e-6)
    assert found.probability != pytest.approx(prediction.probability, abs=1e-9)


def test_a_map_that_points_nowhere_is_put_to_no_test(model: Model) -> None:
    prediction = model.predict(SAMPLE).prediction
    nowhere = SaliencyMap(np.zeros((7, 7), np.float32), "gradcam", "PNEUMONIA")
    assert hide(model.classifier, prediction, nowhere, (None, None)) == ()


def test_each_map_of_an_explanation_has_its_number_in_record_and_figure(model: Model) -> None:
    explanation = model.explain(SAMPLE, method="both", target="PNEUMONIA")
    assert [each.by for each in explanation.hidden] == ["gradcam", "lime"]
    lime = explanation.lime
    assert lime is not None
    leaders = [index for index in lime.ranking if lime.coefficients[index] > 0][: lime.top]
    assert explanation.hidden[1].share == np.isin(lime.superpixels.labels, leaders).mean()
    said = explanation.to_json()["explanation"]["hidden"]  # type: ignore[index]
    assert [each["map"] for each in said] == ["gradcam", "lime"]
    assert {name for name, _ in draw(explanation)} >= {"figure.png", "gradcam.png"}
