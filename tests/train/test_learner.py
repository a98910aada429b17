from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxr_train.augmentation import Augmentation
from cxr_train.learner import Batches, ClassifierLearner
from cxr_train.network import build_network
from cxr_train.recipes import DEFAULT


@pytest.fixture
def learner():
    keras.utils.set_random_seed(0)
    return ClassifierLearner(build_network("small-cnn"), replace(DEFAULT, batch_statistics=True, learning_rate=1e-3))


def step(learner, pixels, labels, lungs):
    losses = learner.train_on_batch(pixels.astype(np.float32), {"labels": labels, "lungs": lungs}, return_dict=True)
    learner.reset_metrics()
    return losses


def test_each_loss_can_be_learned(learner):
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 1], np.int32)
    pixels = rng.uniform(0, 255, (4, 224, 224)).astype(np.float32) * (0.3 + 0.7 * labels[:, None, None])
    lungs = np.zeros((4, 28, 28), np.float32)
    lungs[:, 6:22, 4:24] = 1
    steps = [step(learner, pixels, labels, lungs) for _ in range(25)]
    for name in ("cross_entropy", "segmentation", "attribution"):
        assert steps[-1][name] < 0.7 * steps[0][name], name


def test_logits_stay_centred_so_that_grad_cam_of_a_class_is_half_the_log_odds(learner):
    step(learner, np.full((2, 224, 224), 90), np.array([0, 1], np.int32), np.ones((2, 28, 28), np.float32))
    for variable in learner.network.get_layer("logits").get_weights():
        np.testing.assert_allclose(variable.sum(-1), 0, atol=1e-6)


def test_the_attribution_penalty_is_the_share_of_grad_cam_outside_the_lungs(learner):
    network = learner.network
    rng = np.random.default_rng(0)
    features = tf.constant(rng.random((3, 14, 14, 256)), tf.float32)
    lungs = np.zeros((3, 28, 28), np.float32)
    lungs[:, :, :14] = 1
    lungs[2] = np.nan
    with tf.GradientTape() as tape:
        tape.watch(features)
        hidden = network.get_layer("hidden")(tf.reduce_mean(features, (1, 2)))
        logits = network.get_layer("logits")(hidden)
        odds = logits[:, 1] - logits[:, 0]
    cam = tf.einsum("bhwc,bc->bhw", features, tf.reduce_sum(tape.gradient(odds, features), (1, 2))).numpy()[:2]
    shares = [each[:, :, 7:].sum((1, 2)) / each.sum((1, 2)) for each in (np.maximum(cam, 0), np.abs(cam))]
    got = learner.attribution_outside(features, hidden, tf.constant([1, 1, 1]), tf.constant(lungs))
    assert float(got) == pytest.approx(np.nanmean(shares[1]) / 2 + np.nan_to_num(shares[0]).mean() / 2, abs=1e-3)


def test_a_checkpoint_is_the_network_alone_and_the_state_everything(learner, tmp_path):
    labels = np.array([0, 1], np.int32)
    step(learner, np.full((2, 224, 224), 90), labels, np.ones((2, 28, 28), np.float32))
    learner.save(str(tmp_path / "model.keras"))
    learner.save_weights(str(tmp_path / "state.weights.h5"))
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "state.weights.h5"}
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in learner.network.layers]
    other = ClassifierLearner(build_network("small-cnn"), learner.recipe)
    other.load_weights(tmp_path / "state.weights.h5")
    assert int(other.optimizer.iterations) == 1
    for name in ("variables", "trainable_variables"):
        for found, expected in zip(getattr(other, name), getattr(learner, name), strict=True):
            if "seed" not in found.path:
                np.testing.assert_array_equal(found, expected)
    for found, expected in zip(other.optimizer.variables, learner.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_batches_depend_on_seed_epoch_and_number_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
    masks = np.full((5, 32, 32), 127, np.uint8)
    masks[:3, :, :16] = 255
    masks[:3, :, 16:] = 0
    labels = np.arange(5, dtype=np.int32)
    choices = {"size": 2, "augmentation": Augmentation(flip=0.5, noise=1.0), "seed": 3}
    one, other = (Batches(pixels, labels, masks, **choices) for _ in range(2))
    assert len(one) == 3
    one.epoch = other.epoch = 1
    backwards = {number: other[number] for number in (2, 1, 0)}
    for number in range(3):
        np.testing.assert_array_equal(one[number][0], backwards[number][0])
        np.testing.assert_array_equal(one[number][1]["lungs"], backwards[number][1]["lungs"])
    seen = np.concatenate([one[number][1]["labels"] for number in range(3)])
    assert sorted(seen) == [0, 1, 2, 3, 4]
    known = np.concatenate([np.isfinite(one[number][1]["lungs"]).all((1, 2)) for number in range(3)])
    np.testing.assert_array_equal(known, seen < 3)
    another = Batches(pixels, labels, masks, **{**choices, "seed": 4})
    another.epoch = 1
    assert (np.concatenate([another[number][1]["labels"] for number in range(3)]) != seen).any()
    one.epoch = 0
    assert (np.concatenate([one[number][1]["labels"] for number in range(3)]) != seen).any()
