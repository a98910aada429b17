import numpy as np
import pytest
from made_up import flat
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from cxr_train.metrics import bootstrapped, certain_share, figures, proportion, resampled


def test_a_share_has_wilsons_interval_as_in_a_textbook():
    none = proportion(0, 10)
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(0.2775, abs=1e-4))
    half = proportion(5, 10)
    assert (half.low, half.high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert np.isnan(proportion(0, 0).value)


def test_a_share_of_nothing_or_all_counts_each_patient_once():
    assert certain_share(1.0, ["a", "a", "b", "b"]) == proportion(2, 2)
    assert certain_share(0.0, ["a", "a", "b", "c"]) == proportion(0, 3)


def test_no_share_of_images_has_an_interval_without_width():
    labels = np.array([0, 0, 1, 1], np.int32)
    found = bootstrapped(labels, np.array([0.1, 0.2, 0.8, 0.9]), list("aabc"), 0.5, resamples=50)
    assert {name for name, each in found.items() if each.low == each.high} <= {"auroc", "auprc", "f1"}  # no shares
    assert found["specificity"] == proportion(1, 1)  # both images are of one patient
    assert found["recall"] == proportion(2, 2)
    assert found["accuracy"] == proportion(3, 3)


def test_a_share_of_some_images_is_bootstrapped_and_that_of_all_is_not(around):
    setting = around(flat(60, 70, 200, 210), [0, 0, 1, 1])
    rows = np.array([True, True, True, False])
    some = setting.share(np.array([True, False, False]), rows)
    assert some.value == pytest.approx(1 / 3)
    assert some.low < some.value < some.high
    assert setting.share(np.zeros(3, bool), rows) == proportion(0, 3)


def test_the_figures_of_all_samples_at_once_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60).astype(np.int32)
    probability = np.round(rng.random(60), 1)  # many are equal
    patients = [str(row // 2) for row in range(60)]
    found = bootstrapped(labels, probability, patients, 0.5, resamples=40, seed=3)
    rows = list(resampled(patients, resamples=40, seed=3))
    for name, measure in {"auroc": roc_auc_score, "auprc": average_precision_score, "f1": _f1}.items():
        assert figures(labels, probability, 0.5)[name] == pytest.approx(measure(labels, probability))
        low, high = np.percentile([measure(labels[each], probability[each]) for each in rows], (2.5, 97.5))
        assert (found[name].low, found[name].high) == (pytest.approx(low), pytest.approx(high))


def _f1(labels, probability):
    return f1_score(labels, probability >= 0.5)
