from types import SimpleNamespace

import numpy as np
import pytest
from made_up import flat

from cxr_edge.superpixels import Superpixels
from cxr_train.audit.evidence import bound, evidence, inside, lime_weights, smooth


@pytest.fixture
def mask():
    out = np.zeros((224, 224), np.uint8)
    out[40:180, 30:95] = 255
    out[50:190, 130:200] = 255
    out[:20] = 127
    return out


def test_pixels_that_the_mask_leaves_open_do_not_count(mask):
    weights = np.zeros(mask.shape)
    weights[100, 50] = 3
    weights[100, 110] = 1
    weights[5, 5] = 100
    assert inside(weights, mask) == 0.75
    assert np.isnan(inside(np.where(mask == 127, 1.0, 0.0), mask))
    assert inside(np.ones(mask.shape), mask) == pytest.approx((mask == 255).sum() / (mask != 127).sum())


def test_no_map_exceeds_the_bound_and_one_reaches_it(mask):
    most = bound(mask, (7, 7))
    rng = np.random.default_rng(0)
    for sparsity in (0, 0.5, 0.95):
        for _ in range(50):
            cells = rng.exponential(1, (7, 7)) * (rng.random((7, 7)) > sparsity)
            if cells.any():
                assert not inside(smooth(cells, 224, 224), mask) > most + 1e-6
    alone = [inside(smooth(np.eye(49)[cell].reshape(7, 7), 224, 224), mask) for cell in range(49)]
    assert most == pytest.approx(np.nanmax(alone))
    assert 0.5 < most <= 1


def test_lime_counts_what_speaks_for_the_label_whatever_the_size_of_the_superpixel(mask):
    regions = np.zeros((224, 224), np.int32)
    regions[40:60, 30:50] = 1  # inside a lung, small
    regions[200:, :] = 2  # outside, large
    explanation = SimpleNamespace(superpixels=Superpixels(regions, "grid"), coefficients=np.array([-5.0, 3.0, 1.0]))
    weights = lime_weights(explanation)
    assert weights.sum() == pytest.approx(4)
    assert inside(weights, mask) == pytest.approx(0.75)


def test_each_class_is_measured_for_its_own_label(around, mask):
    setting = around(flat(60, 70, 200, 210), [0, 0, 1, 1], np.stack([mask, mask, mask, np.full_like(mask, 127)]))
    found = evidence(setting, lime=1)
    assert {name: each.images for name, each in found.items()} == {"NORMAL": 2, "PNEUMONIA": 1}
    assert {name: each.explained for name, each in found.items()} == {"NORMAL": 1, "PNEUMONIA": 1}
    positive = found["PNEUMONIA"]
    # The brightness network's map of a flat image is flat: exactly the lungs' share, which is not below chance.
    assert positive.means["gradcam"].value == pytest.approx(positive.means["lungs"].value, rel=1e-5)
    assert positive.means["gradcam"].value < positive.means["outline"].value < positive.means["bound"].value
    assert evidence(around(flat(60, 200), [0, 1]), lime=None) is None
