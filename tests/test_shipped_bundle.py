"""The bundle that comes with the package answers the sample radiographs as when tests/data/shipped.json was written.

The bounds leave room for what another processor rounds otherwise, and for nothing else.
"""

import json

import pytest

import cxr_edge
from shipped import FILE, measure, samples

EXPECTED = json.loads(FILE.read_text("utf-8"))
NAMES = [path.name for path in samples()]


@pytest.fixture(scope="module")
def found():
    return measure()


def test_it_is_the_bundle_that_was_measured(found):
    assert found["bundle"] == EXPECTED["bundle"]
    assert list(EXPECTED["radiographs"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_answers(found, name):
    now, then = found["radiographs"][name], EXPECTED["radiographs"][name]
    assert now["label"] == then["label"]
    assert now["logodds"] == pytest.approx(then["logodds"], rel=1e-3, abs=1e-4)
    assert now["gate_score"] == pytest.approx(then["gate_score"], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_int8_stays_within_the_loss_that_the_manifest_states(found, name):
    from cxr_edge.bundle.bundle import Bundle

    loss = Bundle.open().manifest.precisions["int8"].loss
    now, then = found["radiographs"][name], EXPECTED["radiographs"][name]
    assert abs(now["logodds_int8"] - now["logodds"]) <= loss["max_logodds_error"]
    # Integer kernels differ more between processors than those of float32.
    assert now["logodds_int8"] == pytest.approx(then["logodds_int8"], abs=loss["mean_logodds_error"])


@pytest.mark.parametrize("name", NAMES)
def test_explanations(found, name):
    now, then = found["radiographs"][name], EXPECTED["radiographs"][name]
    assert now["gradcam_peak"] == then["gradcam_peak"]
    assert now["gradcam_at_peak"] == pytest.approx(then["gradcam_at_peak"], rel=1e-3)
    assert now["superpixels"] == then["superpixels"]
    assert now["lime_top"][0] == then["lime_top"][0]
    assert len({*now["lime_top"]} & {*then["lime_top"]}) >= 2  # the third and the fourth may be near each other
    assert now["lungs_share"] == pytest.approx(then["lungs_share"], abs=2e-3)  # pixels on the outline's edge
    assert now["gradcam_in_lungs"] == pytest.approx(then["gradcam_in_lungs"], abs=2e-3)


def test_the_gate_answers_every_sample(found):
    from cxr_edge.bundle.bundle import Bundle

    threshold = Bundle.open().manifest.gate.threshold
    assert all(0 < each["gate_score"] <= threshold for each in found["radiographs"].values())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_children_get_a_label_and_adults_of_elsewhere_get_none(precision):
    model = cxr_edge.load(provider="cpu", threads=1, precision=precision)
    found = {path.name: model.predict(path).refusal for path in samples()}
    adults = {"cr_chest_pa_16bit.png", "nih_dx_chest.dcm"}
    assert {name for name, refusal in found.items() if refusal} == adults
    assert {found[name].scope for name in adults} == {"outside"}
