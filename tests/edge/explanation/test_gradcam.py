from pathlib import Path

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import InputError
from cxr_edge.explanation.gradcam import GradCam, SaliencyMap
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from tiny import TinyNetwork


@pytest.fixture(scope="module")
def gradcam(tiny_bundle: Path) -> GradCam:
    return GradCam(Bundle.open(tiny_bundle))


@pytest.fixture(scope="module")
def features(tiny_bundle: Path, radiographs: Path) -> list[np.ndarray]:
    classifier = Classifier(Bundle.open(tiny_bundle), provider="cpu")
    inputs = np.stack([to_input(read_radiograph(path)) for path in sorted(radiographs.iterdir())[:2]])
    return [prediction.features for prediction in classifier.predict(inputs)]


@pytest.mark.parametrize("target", ["NORMAL", "PNEUMONIA"])
def test_map_and_gradients_are_those_of_the_network(gradcam: GradCam, features: list[np.ndarray], target: str) -> None:
    index = np.array([gradcam.labels.index(target)])
    gradients, cam = TinyNetwork().gradcam(features[0][None], index)
    np.testing.assert_allclose(gradcam.gradients(features[0], target), gradients[0], atol=1e-6)
    np.testing.assert_allclose(gradcam.explain(features[0], target).raw, cam[0], atol=1e-5)


def test_gradients_are_the_slope_of_the_logit(gradcam: GradCam, features: list[np.ndarray]) -> None:
    network, step = TinyNetwork(), np.zeros_like(features[0])
    step[3, 4, 2] = 1e-2
    low, high = (network.z((features[0] + sign * step)[None])[0] for sign in (-1, 1))
    slope = gradcam.logodds_gradients(features[0])[3, 4, 2]
    assert slope == pytest.approx(((high[1] - high[0]) - (low[1] - low[0])) / 2e-2, rel=1e-2)


def test_the_map_changes_with_the_input(gradcam: GradCam, features: list[np.ndarray]) -> None:
    one, other = (gradcam.explain(each, "PNEUMONIA").raw for each in features)
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()


def test_relatives_are_made_of_the_same_two_tensors(gradcam: GradCam, features: list[np.ndarray]) -> None:
    plain, hires, plus = (
        gradcam.explain(features[0], "PNEUMONIA", method=method) for method in ("gradcam", "hirescam", "gradcam++")
    )
    gradients = gradcam.gradients(features[0], "PNEUMONIA")
    np.testing.assert_allclose(hires.raw, np.maximum((gradients * features[0]).sum(2), 0), rtol=1e-5)
    np.testing.assert_allclose(hires.raw, plain.raw, rtol=1e-3, atol=1e-6)  # after global average pooling they agree
    # equation 19 by hand
    sums = features[0].sum((0, 1))
    alpha = np.where(gradients != 0, gradients**2 / (2 * gradients**2 + gradients**3 * sums + 1e-30), 0)
    weights = (alpha * np.maximum(gradients, 0)).sum((0, 1))
    np.testing.assert_allclose(plus.raw, np.maximum(features[0] @ weights, 0), rtol=1e-4)


def test_a_map_that_is_no_number_is_an_error_of_the_input(gradcam: GradCam, features: list[np.ndarray]) -> None:
    broken = features[0].copy()
    broken[3, 4, 2] = np.inf
    for method in ("gradcam", "hirescam", "gradcam++"):
        with pytest.raises(InputError, match="no finite number"):
            gradcam.explain(broken, "PNEUMONIA", method=method)


def test_upsampling_keeps_place_for_any_aspect_ratio() -> None:
    raw = np.zeros((7, 7), np.float32)
    raw[1, 5] = 4.0
    saliency = SaliencyMap(raw, "gradcam", "PNEUMONIA")
    large = saliency.upsample(1400, 700)
    assert large.shape == (1400, 700)
    row, column = np.unravel_index(np.argmax(large), large.shape)
    assert (abs(row - 300) <= 2, abs(column - 550) <= 2) == (True, True)
    assert (large.min(), saliency.peak) == (0.0, 4.0)
    assert saliency.to_json()["raw"][1][5] == 4.0


def test_a_map_that_speaks_for_nothing_stays_zero() -> None:
    empty = SaliencyMap(np.zeros((7, 7), np.float32), "gradcam", "NORMAL")
    assert not empty.normalised.any()
    assert not empty.upsample(100, 90).any()


def test_upsampling_invents_no_peak_and_no_edge() -> None:
    raw = np.random.default_rng(0).uniform(0.2, 0.6, (5, 5)).astype(np.float32)
    saliency = SaliencyMap(raw, "gradcam", "PNEUMONIA")
    large = saliency.upsample(55, 55)  # 11 pixels a cell: its centre is a pixel
    np.testing.assert_allclose(large[5::11, 5::11], saliency.normalised, atol=1e-5)
    assert large.max() <= 1
    assert large.min() >= saliency.normalised.min()
