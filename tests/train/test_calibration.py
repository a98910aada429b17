import numpy as np
import pytest

from cxr_train.calibration import (
    CONFIDENCE,
    RISKS,
    calibrated,
    fit_calibration,
    operating_points,
    promised,
    tolerated,
)
from cxr_train.metrics import expected_calibration_error, figures


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 4 > 0).astype(np.int32)
    return labels, rng.normal(0, 1, 400) * 2 + 3 * labels - 1


def single(labels):
    """Every image of another patient."""
    return [f"patient {number}" for number in range(len(labels))]


def points_of(probability, labels, patients=None):
    return operating_points(probability, labels, patients or single(labels), chosen_on="simulated")


def test_scale_and_bias_undo_known_ones():
    rng = np.random.default_rng(1)
    true = rng.normal(0.5, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-true))).astype(np.int32)
    calibration = fit_calibration(4 * true + 2, labels, chosen_on="simulated")
    assert calibration.scale == pytest.approx(0.25, rel=0.05)
    assert calibration.bias == pytest.approx(-0.5, abs=0.1)
    assert calibration.prevalence == pytest.approx(labels.mean())
    assert expected_calibration_error(labels, calibrated(calibration, 4 * true + 2)) < 0.02


def test_another_prevalence_moves_the_bias_by_its_log_odds(scored):
    labels, logodds = scored
    own, half = (fit_calibration(logodds, labels, chosen_on="x", prevalence=each) for each in (0.75, 0.5))
    assert half.bias - own.bias == pytest.approx(-np.log(3), abs=0.3)
    assert half.prevalence == 0.5


def test_a_network_that_ranks_the_wrong_way_round_is_not_turned_round(scored):
    labels, logodds = scored
    calibration = fit_calibration(-logodds, labels, chosen_on="simulated")
    assert 0 < calibration.scale <= 1e-3
    np.testing.assert_allclose(calibrated(calibration, -logodds), 0.75, atol=0.01)


def test_of_several_variants_the_least_certain_one_decides(scored):
    labels, logodds = scored
    noisy = logodds + np.random.default_rng(3).normal(0, 4, 400)
    worst = fit_calibration(np.stack([logodds, noisy]), labels, chosen_on="simulated")
    alone = [fit_calibration(each, labels, chosen_on="simulated") for each in (logodds, noisy)]
    assert worst.scale == alone[1].scale < alone[0].scale
    assert worst.bias == alone[1].bias


@pytest.mark.parametrize("patients", [60, 271, 1000])
@pytest.mark.parametrize("risk", RISKS)
def test_as_many_are_tolerated_as_the_binomial_bound_allows_and_no_more(patients, risk):
    allowed = tolerated(patients, risk)
    if allowed is None:
        assert promised(patients, 0) > risk
    else:
        assert promised(patients, allowed) <= risk < promised(patients, allowed + 1)


def test_the_promise_holds_as_often_as_it_says():
    """Thresholds of 400 small samples, each against what it really misses of a known distribution."""
    rng, kept = np.random.default_rng(4), []
    for _ in range(400):
        probability = np.concatenate([rng.beta(8, 2, 150), rng.beta(2, 8, 150)])
        labels = np.repeat([1, 0], 150).astype(np.int32)
        point = next(iter(points_of(probability, labels)["points"].values()))
        kept.append((rng.beta(8, 2, 20_000) < point["threshold"]).mean() <= point["guarantee"]["missed_at_most"])
    assert np.mean(kept) >= CONFIDENCE - 0.025
    assert np.mean(kept) < 1


def test_points_are_named_by_what_they_promise_and_state_what_was_found(scored):
    labels, logodds = scored
    probability = 1 / (1 + np.exp(-logodds))
    chosen = points_of(probability, labels)
    points = chosen["points"]
    assert chosen["default"] == "recall-95"
    assert list(points) == ["recall-95", "recall-98", "recall-90"]
    for name, point in points.items():
        got = figures(labels, probability, point["threshold"])
        assert got["recall"] == pytest.approx(point["recall"])
        assert got["specificity"] == pytest.approx(point["specificity"])
        assert point["guarantee"]["missed_at_most"] <= 1 - int(name[-2:]) / 100
        assert point["threshold"] <= point["certain_from"] <= 1
    assert points["recall-98"]["threshold"] < points["recall-95"]["threshold"] < points["recall-90"]["threshold"]


def test_no_label_is_doubted(scored):
    """A PNEUMONIA that looks entirely clear counts as missed, however unlikely its label is."""
    labels, logodds = scored
    strange = np.where(np.arange(400) == 1, -50.0, logodds)
    before, after = (points_of(1 / (1 + np.exp(-each)), labels)["points"]["recall-98"] for each in (logodds, strange))
    assert after["recall"] <= before["recall"]
    assert after["threshold"] < before["threshold"]


def test_a_patient_counts_once_by_the_worst_radiograph():
    probability = np.concatenate([np.full(200, 0.9), np.linspace(0.01, 0.2, 100)])
    probability[:40] = 0.3  # all of one child
    labels = np.repeat([1, 0], [200, 100]).astype(np.int32)
    alone, one_child = single(labels), ["child"] * 40 + single(labels)[40:]
    by_image = next(iter(points_of(probability, labels, alone)["points"].values()))
    by_child = next(iter(points_of(probability, labels, one_child)["points"].values()))
    assert by_image["threshold"] < 0.3 < by_child["threshold"]


def test_too_few_patients_promise_less_and_the_name_says_so():
    labels = np.repeat([0, 1], 20).astype(np.int32)
    probability = np.concatenate([np.linspace(0.01, 0.3, 20), np.linspace(0.6, 0.99, 20)])
    chosen = points_of(probability, labels)
    (name,) = chosen["points"]
    point = chosen["points"][name]
    assert name == chosen["default"] == "recall-86"
    assert point["guarantee"]["missed_at_most"] == pytest.approx(1 - 0.05 ** (1 / 20))
    assert point["recall"] == 1


def test_a_perfect_and_saturated_classifier_has_thresholds_inside_the_scale():
    labels = np.array([0, 0, 1, 1], np.int32)
    point = next(iter(points_of(np.array([0.0, 0.0, 1.0, 1.0]), labels)["points"].values()))
    assert 0 < point["threshold"] < point["certain_from"] <= 1
    assert point["recall"] == point["specificity"] == 1
