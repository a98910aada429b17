import numpy as np
import pytest

from cxr_train.perturbations import PERTURBATIONS, shifted, variants, varied


@pytest.fixture
def radiographs():
    y, x = np.mgrid[:224, :224]
    grain = np.random.default_rng(0).normal(0, 4, (6, 224, 224))
    return np.clip(90 + 60 * np.sin(x / 17) * np.cos(y / 23) + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_perturbation_changes_a_radiograph_always_in_the_same_way(radiographs, name):
    once, twice = (PERTURBATIONS[name](radiographs[0]) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    assert (once.dtype, once.shape) == (np.uint8, (224, 224))
    assert (once != radiographs[0]).any()


def test_variants_are_the_originals_each_perturbation_and_each_pair_of_neighbours(radiographs):
    found = list(variants(radiographs[:2]))
    assert len(found) == 1 + 2 * len(PERTURBATIONS)
    np.testing.assert_array_equal(found[0], radiographs[:2])
    each = list(PERTURBATIONS.values())
    np.testing.assert_array_equal(found[2][1], each[-1](each[0](radiographs[1])))


def test_copies_take_their_turns(radiographs):
    each = list(PERTURBATIONS.values())
    for row, copy in enumerate(shifted(radiographs)):
        np.testing.assert_array_equal(copy, each[row](radiographs[row]))


def test_varied_copies_differ_and_are_the_same_every_time(radiographs):
    copies = varied(radiographs, seed=1)
    assert (copies.dtype, copies.shape) == (np.uint8, radiographs.shape)
    np.testing.assert_array_equal(copies, varied(radiographs, seed=1))
    assert (copies != radiographs).any(axis=(1, 2)).mean() > 0.5
    assert (copies != varied(radiographs, seed=2)).any()
