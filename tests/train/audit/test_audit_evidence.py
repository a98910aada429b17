import numpy as np
import pytest
from made_up import flat, setting_of

from cxr_train.audit.evidence import bound, evidence, inside, outlines, smooth


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


def test_the_bundles_own_outline_is_measured_against_the_human_one(lung_bundle):
    # The tiny segmenter takes what is bright for lungs.
    pixels, masks = np.full((3, 224, 224), 20, np.uint8), np.zeros((3, 224, 224), np.uint8)
    for image, mask in zip(pixels, masks, strict=True):
        for left in (30, 130):
            image[40:180, left : left + 60] = mask[40:180, left : left + 60] = 220
    masks[masks > 0] = 255
    pixels[1, 40:180, 30:90] = 20  # one lung is dark: half found, and doubted
    masks[2] = 127
    setting = setting_of(lung_bundle, pixels, [0, 1, 1], masks)
    found = outlines(setting, evidence(setting, lime=0))
    assert found.images == 2
    assert found.dice.value == pytest.approx((1 + 2 / 3) / 2, abs=0.01)
    assert found.doubted == 1
    assert np.isnan(found.stated["PNEUMONIA"].value)


def test_a_bundle_that_outlines_nothing_has_no_such_part(around, mask):
    setting = around(flat(60, 200), [0, 1], np.stack([mask, mask]))
    assert outlines(setting, evidence(setting, lime=0)) is None
