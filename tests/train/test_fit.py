"""The training loop: the loss falls, and a training that is killed goes on exactly."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from cxr_train import fit as module
from cxr_train.dataset import find_samples, read_images, read_masks
from cxr_train.fit import Validation, fit, learning_rate, read_history
from cxr_train.learner import Batches, ClassifierLearner
from cxr_train.network import build_network
from cxr_train.recipes import DEFAULT, STUDY

SIZE = {"height": 112, "width": 112}


class Killed(BaseException):
    pass


def kill(*_arguments, **_options):
    raise Killed


@pytest.fixture(scope="module")
def images(request):
    images = read_images(find_samples(request.path.parents[1] / "data" / "kermany", ["train"]), **SIZE)
    images.pixels.flags.writeable = False
    return images


@pytest.fixture
def train(images, lungmasks, tmp_path):
    """Trains a small network in a folder; the last four radiographs of each label are held out."""
    held = np.tile(np.arange(8) >= 4, 2)
    masks = read_masks(images.samples, lungmasks, **SIZE)

    def go(folder, *, recipe, seed=3):
        keras.utils.set_random_seed(seed)
        network = build_network("small-cnn", l2=recipe.l2, dropout=recipe.dropout, **SIZE)
        parts = images.pixels[~held], images.labels[~held], masks[~held]
        batches = Batches(*parts, size=recipe.batch, augmentation=recipe.augmentation, seed=seed)
        (tmp_path / folder).mkdir(exist_ok=True)
        validation = Validation(images.pixels[held], images.labels[held])
        assert not fit(ClassifierLearner(network, recipe), batches, validation, run=tmp_path / folder, seed=seed)
        return tmp_path / folder

    return go


def test_the_loss_falls(train):
    rows = read_history(train("run", recipe=replace(DEFAULT, batch_statistics=True, epochs=10, learning_rate=2e-3)))
    assert [row["epoch"] for row in rows] == list(range(1, 11))
    for name in ("loss", "cross_entropy", "segmentation"):
        assert np.mean([row[name] for row in rows[-3:]]) < 0.9 * np.mean([row[name] for row in rows[:3]]), name


def test_a_training_that_is_killed_again_and_again_goes_on_to_the_same_end(train, monkeypatch):
    # The plateau schedule is the one that depends on what came before.
    choices = {"batch_statistics": True, "epochs": 3, "batch": 4, "schedule": "plateau", "decay": 1e-2}
    recipe = replace(DEFAULT, **choices)

    def killed(owner, name):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, kill)
            with pytest.raises(Killed):
                train("run", recipe=recipe)

    killed(module.Report, "on_epoch_end")  # the first epoch is done
    killed(keras.callbacks.CSVLogger, "on_epoch_end")  # behind the checkpoint of the second
    run, straight = train("run", recipe=recipe), train("straight", recipe=recipe)
    assert len(read_history(run)) == 3
    for found, expected in zip(read_history(run), read_history(straight), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)  # a sum over threads may differ in the last digit
    weights = [keras.saving.load_model(each / "model.keras").get_weights() for each in (run, straight)]
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_rate_warms_up_and_falls_along_half_a_cosine():
    recipe = replace(DEFAULT, epochs=5)
    rates = np.array([learning_rate(recipe, step, 10, []) for step in range(50)]) / recipe.learning_rate
    np.testing.assert_allclose(rates[:10], np.linspace(0.1, 1, 10))
    np.testing.assert_allclose(rates[10:], (1 + np.cos(np.pi * np.arange(40) / 40)) / 2)


def test_the_rate_of_the_study_decays_and_is_cut_after_two_epochs_without_a_better_loss():
    def rate(step, losses):
        return learning_rate(STUDY, step, 10, losses) / STUDY.learning_rate

    assert rate(0, []) == 1
    assert rate(100, [3, 2, 1]) == pytest.approx(1 / 1.01)
    assert rate(0, [1, 2]) == 1
    assert rate(0, [1, 2, 1]) == pytest.approx(0.2)
    assert rate(0, [1, 2, 1, 3, 0.5]) == pytest.approx(0.2)
    assert rate(0, [1, 2, 1, 3, 4]) == pytest.approx(0.04)
