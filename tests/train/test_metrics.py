import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_train.metrics import bootstrapped, confusion, estimate, expected_calibration_error, figures


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 4 > 0).astype(np.int32)
    return labels, rng.normal(0, 1, 400) * 2 + 3 * labels - 1


def test_figures_of_a_small_case_by_hand():
    labels = np.array([0, 0, 1, 1, 1], np.int32)
    probability = np.array([0.1, 0.6, 0.4, 0.7, 0.9])
    got = figures(labels, probability, 0.5)
    assert got["recall"] == pytest.approx(2 / 3)
    assert got["specificity"] == 0.5
    assert got["precision"] == pytest.approx(2 / 3)
    assert got["f1"] == pytest.approx(2 / 3)
    assert got["accuracy"] == 0.6
    assert got["auroc"] == pytest.approx(5 / 6)
    assert got["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.09 + 0.01) / 5)
    assert confusion(labels, probability, 0.5).tolist() == [[1, 1], [1, 2]]


def test_the_area_under_the_curve_is_that_of_scikit_learn_ties_and_all():
    rng = np.random.default_rng(0)
    for count in (5, 50, 500):
        labels = np.arange(count, dtype=np.int32) % 3 % 2
        probability = np.round(rng.random(count), 1)
        assert figures(labels, probability, 0.5)["auroc"] == pytest.approx(roc_auc_score(labels, probability))


def test_calibration_error_is_nought_when_shares_match_and_large_when_not():
    labels = np.array([0, 1] * 50, np.int32)
    assert expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)
    assert expected_calibration_error(labels, np.full(100, 0.99)) == pytest.approx(0.49)


def test_intervals_widen_when_patients_have_many_images(scored):
    labels, logodds = scored
    probability = 1 / (1 + np.exp(-logodds))
    alone = bootstrapped(labels, probability, [str(i) for i in range(400)], 0.5, resamples=200)
    grouped = bootstrapped(
        np.repeat(labels[:40], 10),
        np.repeat(probability[:40], 10),
        np.repeat(np.arange(40), 10).astype(str).tolist(),
        0.5,
        resamples=200,
    )
    for name in ("auroc", "accuracy"):
        assert alone[name].low <= alone[name].value <= alone[name].high
        assert grouped[name].high - grouped[name].low > alone[name].high - alone[name].low


def test_any_figure_gets_an_interval_over_patients():
    values = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    alike = estimate(["a"] * 3 + ["b"] * 3, lambda rows: float(values[rows].mean()), resamples=200)
    assert (alike.value, alike.low, alike.high) == (0.5, 0.0, 1.0)
    known = estimate(["a", "b"] * 3, lambda rows: float(values[rows].mean()) if rows[0] else np.nan, resamples=200)
    assert np.isnan(known.value)
    assert 0 < known.low <= known.high
    never = estimate(["a", "b"], lambda _: np.nan, resamples=20)
    assert np.isnan([never.value, never.low, never.high]).all()
