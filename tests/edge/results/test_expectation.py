"""What a bundle leads one to expect of many answers: drift is told from chance and from another share of the ill."""

import numpy as np
import pytest

from cxr_edge.results.expectation import FEWEST, PointRecord, drift

RANKS = np.linspace(0, 1, 41)


@pytest.fixture
def point():
    rng = np.random.default_rng(0)
    normal, ill = rng.normal(-5, 2, 2000), rng.normal(6, 2, 2000)
    return PointRecord(
        criterion="",
        chosen_on="",
        recall=1,
        specificity=1,
        logodds={"NORMAL": np.quantile(normal, RANKS).tolist(), "PNEUMONIA": np.quantile(ill, RANKS).tolist()},
        scope_scores=np.quantile(rng.normal(-20, 4, 2000), RANKS).tolist(),
        measured=2000,
    )


def draw(rng, count, share, *, shift=0.0):
    ill = rng.random(count) < share
    return np.where(ill, rng.normal(6, 2, count), rng.normal(-5 + shift, 2, count))


@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 1.0])
def test_another_share_of_ill_patients_is_no_drift(point, share):
    rng = np.random.default_rng(1)
    told = [drift(point, draw(rng, 300, share), rng.normal(-20, 4, 300)) for _ in range(30)]
    assert sum(map(bool, told)) <= 1


def test_healthy_patients_with_higher_scores_are_drift(point):
    rng = np.random.default_rng(2)
    (sentence,) = drift(point, draw(rng, 300, 0.3, shift=3), rng.normal(-20, 4, 300))
    assert sentence.startswith("The answers are distributed otherwise")
    assert "of 300 lie elsewhere" in sentence


def test_scores_of_the_scope_nearer_to_elsewhere_are_drift(point):
    rng = np.random.default_rng(3)
    (sentence,) = drift(point, draw(rng, 300, 0.3), rng.normal(-16, 4, 300))
    assert sentence.startswith("The radiographs' origins")


def test_few_radiographs_and_a_bundle_that_states_nothing_say_nothing(point):
    rng = np.random.default_rng(4)
    few = FEWEST - 1
    assert drift(point, np.full(few, 50.0), np.full(few, 50.0)) == []
    silent = PointRecord(criterion="", chosen_on="", recall=1, specificity=1)
    assert drift(silent, draw(rng, 300, 0.3), rng.normal(0, 1, 300)) == []
