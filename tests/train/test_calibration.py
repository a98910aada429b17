import numpy as np
import pytest

from cxr_train.calibration import calibrated, fit_temperature, label_trust, operating_points
from cxr_train.metrics import expected_calibration_error, figures


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 4 > 0).astype(np.int32)
    return labels, rng.normal(0, 1, 400) * 2 + 3 * labels - 1


def test_temperature_undoes_a_known_scale():
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-true))).astype(np.int32)
    calibration = fit_temperature(4 * true, labels, chosen_on="simulated")
    assert calibration.scale == pytest.approx(0.25, rel=0.05)
    assert expected_calibration_error(labels, calibrated(calibration, 4 * true)) < 0.02


def test_a_network_that_ranks_the_wrong_way_round_is_not_turned_round(scored):
    labels, logodds = scored
    calibration = fit_temperature(-logodds, labels, chosen_on="simulated")
    assert 0 < calibration.scale <= 1e-3
    np.testing.assert_allclose(calibrated(calibration, -logodds), 0.5, atol=0.01)


def test_of_several_variants_the_least_certain_one_decides(scored):
    labels, logodds = scored
    both = fit_temperature(np.stack([logodds, logodds / 2]), labels, chosen_on="simulated")
    assert both.scale == pytest.approx(fit_temperature(logodds, labels, chosen_on="simulated").scale, rel=1e-3)
    noisy = logodds + np.random.default_rng(3).normal(0, 4, 400)
    worst = fit_temperature(np.stack([logodds, noisy]), labels, chosen_on="simulated")
    assert worst.scale == fit_temperature(noisy, labels, chosen_on="simulated").scale < both.scale


def test_labels_that_look_like_the_other_class_are_doubted_and_hard_ones_are_not():
    rng = np.random.default_rng(2)
    normal, clear, hard, wrong = rng.normal(-4, 1, 300), rng.normal(5, 1, 690), np.zeros(5), rng.normal(-4, 0.3, 5)
    scores = np.concatenate([normal, clear, hard, wrong])
    labels = np.repeat([0, 1], [300, 700]).astype(np.int32)
    trust = label_trust(scores, labels)
    assert (trust[labels == 0] == 1).all()
    assert trust[300:990].min() > 0.95
    assert trust[990:995].min() > 0.8
    assert trust[995:].max() < 0.2
    probability = 1 / (1 + np.exp(-scores))
    kept = operating_points(probability, labels, chosen_on="simulated", trust=trust)["points"]["recall-99.4"]
    plain = operating_points(probability, labels, chosen_on="simulated")["points"]["recall-99.4"]
    assert kept["threshold"] > plain["threshold"]
    assert kept["recall"] == figures(labels, probability, kept["threshold"])["recall"] < 0.994
    assert "0.7 % of the PNEUMONIA labels" in kept["criterion"]


def test_operating_points_keep_what_they_promise(scored):
    labels, logodds = scored
    probability = 1 / (1 + np.exp(-logodds))
    chosen = operating_points(probability, labels, chosen_on="simulated")
    points = chosen["points"]
    assert chosen["default"] == "recall-99.4"
    for point in points.values():
        got = figures(labels, probability, point["threshold"])
        assert got["recall"] == pytest.approx(point["recall"])
        assert got["specificity"] == pytest.approx(point["specificity"])
    assert points["recall-99.4"]["recall"] >= 0.994
    assert points["specificity-95"]["specificity"] >= 0.95
    best = max(
        figures(labels, probability, t)["recall"] + figures(labels, probability, t)["specificity"] for t in probability
    )
    assert points["youden"]["recall"] + points["youden"]["specificity"] == pytest.approx(best)


def test_operating_points_of_a_perfect_and_saturated_classifier():
    labels = np.array([0, 0, 1, 1], np.int32)
    points = operating_points(np.array([0.0, 0.0, 1.0, 1.0]), labels, chosen_on="simulated")["points"]
    assert 0 < points["recall-99.4"]["threshold"] < 1
    assert points["recall-99.4"]["recall"] == points["recall-99.4"]["specificity"] == 1
