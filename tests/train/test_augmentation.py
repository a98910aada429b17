from dataclasses import fields, replace

import numpy as np
import pytest

from cxr_train.augmentation import Augmentation, augment, paste_marker, replace_background
from cxr_train.recipes import DEFAULT


@pytest.fixture
def radiograph():
    y, x = np.mgrid[:224, :224].astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 4, (224, 224))
    return (90 + 60 * np.sin(x / 17) * np.cos(y / 23) + grain).astype(np.float32)


@pytest.fixture
def lungs():
    mask = np.zeros((224, 224), np.float32)
    mask[60:180, 40:95] = mask[60:180, 130:185] = 1
    return mask


def test_nothing_asked_for_leaves_the_radiograph_as_it_is(radiograph, lungs):
    out, mask = augment(radiograph, lungs, radiograph, amount=Augmentation(), rng=np.random.default_rng(0))
    np.testing.assert_allclose(out, radiograph, atol=1e-3)
    np.testing.assert_array_equal(mask, lungs)


@pytest.mark.parametrize("name", [field.name for field in fields(Augmentation)])
def test_each_variation_alone_changes_pixels_within_range(radiograph, lungs, name):
    other = np.full_like(radiograph, 10)
    changed = 0
    for seed in range(8):
        amount = replace(
            Augmentation(), **{name: 0.5 if name in {"scale", "shift"} else 12.0 if name == "rotation" else 1.0}
        )
        out, mask = augment(radiograph, lungs, other, amount=amount, rng=np.random.default_rng(seed))
        assert out.dtype == np.float32
        assert out.shape == mask.shape == (224, 224)
        assert out.min() >= 0
        assert out.max() <= 255
        changed += np.abs(out - radiograph).mean() > 0.1
    assert changed >= 6


def test_replacing_the_background_keeps_the_inside_of_the_lungs(radiograph, lungs):
    inner = np.zeros_like(lungs, bool)
    inner[85:155, 60:75] = True
    for seed in range(10):
        out = replace_background(radiograph, lungs, 255 - radiograph, np.random.default_rng(seed))
        np.testing.assert_allclose(out[inner], radiograph[inner], atol=2)


def test_markers_stay_near_the_edges(radiograph):
    for seed in range(20):
        changed = paste_marker(radiograph, np.random.default_rng(seed)) != np.rint(radiograph)
        assert changed.any()
        assert not changed[95:130, 105:120].any()


def test_the_mask_moves_with_the_radiograph(lungs):
    out, mask = augment(
        lungs * 200,
        lungs,
        lungs,
        amount=Augmentation(rotation=12, scale=0.15, shift=0.08, flip=0.5),
        rng=np.random.default_rng(5),
    )
    assert np.corrcoef(out.ravel(), mask.ravel())[0, 1] > 0.97


def test_an_unknown_mask_stays_unknown(radiograph):
    unknown = np.full((224, 224), np.nan, np.float32)
    _, mask = augment(radiograph, unknown, radiograph, amount=DEFAULT.augmentation, rng=np.random.default_rng(1))
    assert np.isnan(mask).all()
