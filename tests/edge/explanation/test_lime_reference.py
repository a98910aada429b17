from pathlib import Path

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime import LimeExplanation
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.lime.perturbations import fit_ridge, kernel_weights
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph

lime_image = pytest.importorskip("lime.lime_image", reason="needs cxr-edge[lime]")
lime_base = pytest.importorskip("lime.lime_base", reason="needs cxr-edge[lime]")


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Lime:
    bundle = Bundle.open(tiny_bundle)
    return Lime(Classifier(bundle, provider="cpu"), GradCam(bundle))


@pytest.fixture(scope="module")
def image(radiographs: Path) -> np.ndarray:
    return to_input(read_radiograph(min(radiographs.iterdir())))


def by_package(engine: Lime, image: np.ndarray, ours: LimeExplanation, samples: int) -> dict[int, float]:
    """The package's coefficients for the positive label."""

    def scores(rgb: np.ndarray) -> np.ndarray:
        values = engine.classifier.session.run({"pixels": rgb[..., 0].astype(np.float32)}, [ours.score])[0]
        return np.stack([(1 if ours.score == "probability" else 0) - values, values], axis=1)

    explainer = lime_image.LimeImageExplainer(random_state=ours.seed)
    explanation = explainer.explain_instance(
        np.repeat(image[:, :, None], 3, axis=2),
        scores,
        num_samples=samples,
        segmentation_fn=lambda _: ours.superpixels.labels,
    )
    return dict(explanation.local_exp[1])


@pytest.mark.parametrize("score", ["probability", "logodds"])
@pytest.mark.parametrize("segments", ["slic", "grid"])
def test_coefficients_are_those_of_the_package(engine: Lime, image: np.ndarray, segments: str, score: str) -> None:
    ours = engine.explain(
        image, "PNEUMONIA", LimeOptions(mode="reference", segments=segments, score=score, samples=150, seed=3)
    )
    package = by_package(engine, image, ours, 150)
    scale = np.abs(ours.coefficients).max()
    assert scale > 1e-3
    np.testing.assert_allclose(
        ours.coefficients, [package[index] for index in range(ours.superpixels.count)], atol=1e-6 * max(1, scale)
    )


def test_the_other_label_mirrors_the_first(engine: Lime, image: np.ndarray) -> None:
    one, other = (
        engine.explain(image, label, LimeOptions(mode="reference", samples=60, seed=1))
        for label in ("NORMAL", "PNEUMONIA")
    )
    np.testing.assert_allclose(one.coefficients, -other.coefficients, atol=1e-9)


def test_to_lime_gives_an_object_that_the_package_draws(engine: Lime, image: np.ndarray) -> None:
    ours = engine.explain(image, "PNEUMONIA", LimeOptions(mode="reference", samples=60))
    package = ours.to_lime()
    assert package.top_labels[0] == 1
    picture, mask = package.get_image_and_mask(1, positive_only=True, num_features=3, hide_rest=True)
    leaders = [index for index in ours.ranking if ours.coefficients[index] > 0][:3]
    np.testing.assert_array_equal(mask.astype(bool), np.isin(ours.superpixels.labels, leaders))
    assert picture.shape == (*image.shape, 3)
    _, mirrored = package.get_image_and_mask(0, positive_only=False, negative_only=True, num_features=3)
    np.testing.assert_array_equal(mirrored, mask)


@pytest.mark.parametrize("selection", ["forward_selection", "highest_weights", "none", "auto"])
@pytest.mark.parametrize("features", [3, 8])
def test_ridge_is_that_of_lime_base(selection: str, features: int) -> None:
    random = np.random.default_rng(5)
    masks = random.integers(0, 2, (120, 12)).astype(np.uint8)
    masks[0] = 1
    masks[1] = 0
    scores = masks @ random.normal(size=12) + random.normal(size=120)
    ours = fit_ridge(masks, scores, features=features, selection=selection)
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    distances = sklearn_metrics.pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    base = lime_base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)))
    intercept, pairs, r_squared, _ = base.explain_instance_with_data(
        masks, scores[:, None], distances, 0, features, feature_selection=selection
    )
    np.testing.assert_allclose(kernel_weights(masks), base.kernel_fn(distances), atol=1e-12)
    expected = np.zeros(12)
    for index, value in pairs:
        expected[index] = value
    np.testing.assert_allclose(ours.coefficients, expected, atol=1e-10)
    assert ours.intercept == pytest.approx(intercept)
    assert ours.r_squared == pytest.approx(r_squared)


def test_intervals_cover_a_linear_truth() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=10)
    inside = []
    for _ in range(60):
        masks = random.integers(0, 2, (400, 10)).astype(np.uint8)
        fitted = fit_ridge(masks, masks @ truth + random.normal(size=400), selection="none")
        inside.append(np.abs(fitted.coefficients - truth) < 1.96 * np.sqrt(fitted.variance))
    assert 0.90 < np.mean(inside) < 0.98
