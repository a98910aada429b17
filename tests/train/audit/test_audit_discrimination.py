import numpy as np
import pytest
from made_up import flat
from scipy.stats import spearmanr

from cxr_train.audit.discrimination import SIZE, attributes, discriminate, reliability, shortcuts, spearman


@pytest.fixture
def setting(around):
    levels = (50, 60, 130, 118, 140, 150, 160, 119)
    pixels = flat(*levels)
    pixels[:, 0, 0] = np.arange(8)  # of unlike sharpness
    return around(pixels, [0, 0, 0, 0, 1, 1, 1, 1])


def test_operating_points_and_groups_are_counted(setting):
    found = discriminate(setting, attributes(setting.images))
    shipped = found.points["balanced"]
    assert shipped.shipped
    assert not found.points["strict"].shipped
    assert shipped.confusion == [[3, 1], [1, 3]]  # 130 is called PNEUMONIA, 119 is not
    assert shipped.metrics["recall"].value == shipped.metrics["specificity"].value == 0.75
    assert shipped.metrics["auroc"].value == 15 / 16
    groups = {each.name: each for each in found.groups}
    assert groups["NORMAL, IM"].images == 2
    assert groups["NORMAL, IM"].specificity.value == 1  # 60 and 118
    assert np.isnan(groups["NORMAL, IM"].recall.value)
    assert groups["NORMAL, IM"].auroc.value == 1  # against all four of PNEUMONIA
    assert groups["PNEUMONIA, IM"].recall.value == 0.5  # 150 and 119
    certain = groups["NORMAL, IM"].specificity  # two patients of two: Wilson's interval has a width
    assert (certain.low, certain.high) == (pytest.approx(0.3424, abs=1e-4), 1)
    assert "224x224" in found.note
    quartiles = [each for each in found.groups if each.by == "sharpness"]
    assert [each.images for each in quartiles] == [2, 2, 2, 2]


def test_native_size_divides_the_images_where_files_carry_it(setting):
    setting.images.sizes[:, 0] = 100 * np.arange(1, 9)
    found = discriminate(setting, attributes(setting.images))
    assert found.note is None
    assert {each.by for each in found.groups} == {"file family", "native size"}


def test_rank_correlation_is_scipys_with_ties_and_none_for_a_constant():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 60).astype(float), rng.normal(size=60)
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_a_score_that_follows_brightness_is_found_within_each_class(setting):
    found = {each.attribute: each for each in shortcuts(setting, attributes(setting.images))}
    assert SIZE not in found  # the same in every file
    brightness = found["brightness (mean)"]
    assert brightness.correlation["NORMAL"].value == brightness.correlation["PNEUMONIA"].value == 1
    assert brightness.auroc == 15 / 16


def test_reliability_bins_hold_all_images(setting):
    found = reliability(setting)
    assert sum(each.images for each in found.bins) == 8
    assert all(0 <= each.observed <= 1 for each in found.bins)
    assert found.ece.value > 0.2  # one confident mistake in each class
    assert found.mean_stated["PNEUMONIA"] > found.mean_stated["NORMAL"]
