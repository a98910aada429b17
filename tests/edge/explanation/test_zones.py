"""Where the evidence lies, in words that hold for the patient's right and left."""

import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.explanation.zones import ZoneShare, zone_sentence, zone_shares
from cxr_edge.results.schema import check
from tiny import lung_picture

LUNGS = lung_picture() == 200


def weights(*spots: tuple[float, int, int]) -> np.ndarray:
    """Weights at single pixels: (how much, row, column)."""
    found = np.zeros((224, 224))
    for amount, row, column in spots:
        found[row, column] = amount
    return found


def test_the_left_of_the_picture_is_the_patient_s_right():
    first, second, *rest = zone_shares(LUNGS, weights((3, 180, 60), (1, 40, 150)))
    assert (first.name, first.share) == ("lower right lung", 0.75)
    assert (second.name, second.share) == ("upper left lung", 0.25)
    assert {zone.share for zone in rest} == {0}
    assert len(rest) == 4


def test_what_speaks_against_the_label_counts_for_nothing():
    assert zone_shares(LUNGS, -weights((3, 180, 60))) == ()
    first, *_ = zone_shares(LUNGS, weights((1, 112, 60), (-5, 180, 60)))
    assert (first.name, first.share) == ("middle right lung", 1.0)


@pytest.mark.parametrize(
    ("spots", "said"),
    [
        (
            [(6, 180, 60), (2, 40, 150), (2, 5, 5)],
            "most of it lies in the lower right lung (60 %), then in the upper left lung (20 %); 20 % lies outside",
        ),
        (
            [(38, 180, 60), (9, 40, 150), (9, 112, 60), (44, 5, 5)],
            "the largest part of it lies in the lower right lung (38 %); 44 % lies outside",
        ),
        (
            [(3, 180, 60), (7, 5, 5)],
            "most of it lies outside the lungs (70 %); within them, the largest part lies in the lower right lung",
        ),
    ],
)
def test_the_sentence_says_most_only_where_it_is_most(spots, said):
    sentence = zone_sentence(zone_shares(LUNGS, weights(*spots)), "PNEUMONIA", "LIME")
    assert sentence.startswith("By LIME, " + said.replace("of it", "of what speaks for PNEUMONIA"))
    assert sentence.endswith(". Right and left are the patient's.")


def test_nothing_is_said_of_nothing():
    assert zone_sentence((), "PNEUMONIA", "LIME") is None
    assert ZoneShare("left", "upper", 0.5).to_json() == {"side": "left", "height": "upper", "share": 0.5}


def test_an_explanation_says_it_and_its_record_holds_it(lung_bundle):
    model = load(lung_bundle, provider="cpu")
    for method, name in (("both", "LIME"), ("gradcam", "Grad-CAM"), ("all", "SHAP")):
        explanation = model.explain(lung_picture(), method=method)
        evidence = explanation.evidence
        assert evidence.zones_of == name
        assert evidence.place.startswith(f"By {name}, ")
        said = check(explanation.to_json()).explanation.evidence
        assert [zone.share for zone in said.zones] == [zone.share for zone in evidence.zones]
        assert sum(zone.share for zone in said.zones) <= 1 + 1e-9
