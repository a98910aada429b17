"""Grad-CAM's head and the parts of LIME, each by itself, beside the whole explanation.

pytest benchmarks/test_explaining.py --benchmark-only
"""

from collections import deque

import numpy as np
import pytest

from cxr_edge import LimeOptions
from cxr_edge.explanation.explainer import Explainer
from cxr_edge.explanation.lime.perturbations import Perturber, fit_ridge, folded_hadamard, independent
from cxr_edge.explanation.lime.surrogate import Surrogate, reach
from cxr_edge.explanation.superpixels import segment
from cxr_edge.prediction.classifier import Classifier

TARGET, PLACES = "PNEUMONIA", 49


@pytest.fixture(scope="module")
def features(model, image):
    (prediction,) = model.classifier.predict(image[None])
    return prediction.features


@pytest.fixture(scope="module")
def regions(image):
    return segment(image)


@pytest.fixture(scope="module")
def masks(regions):
    return folded_hadamard(regions.count, np.random.default_rng(0))


@pytest.mark.benchmark(group="grad-cam")
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "gradcam++"])
def test_map_from_features(benchmark, model, features, method) -> None:
    benchmark(model.explainer.gradcam.explain, features, TARGET, method=method)


@pytest.mark.benchmark(group="grad-cam")
def test_enlarge_the_map(benchmark, model, features) -> None:
    saliency = model.explainer.gradcam.explain(features, TARGET)
    benchmark(saliency.upsample, 808, 1218)


@pytest.mark.benchmark(group="superpixels")
@pytest.mark.parametrize("method", ["slic", "grid", "quickshift"])
def test_segment(benchmark, image, method) -> None:
    if method == "quickshift":
        pytest.importorskip("skimage", reason="needs the lime extra")
    benchmark(segment, image, method=method)


@pytest.mark.benchmark(group="lime, one block of 64 perturbations")
def test_draw_the_design(benchmark, regions) -> None:
    benchmark(folded_hadamard, regions.count, np.random.default_rng(0))


@pytest.mark.benchmark(group="lime, one block of 64 perturbations")
def test_compose_the_perturbations(benchmark, image, regions, masks) -> None:
    perturber = Perturber(image, regions)
    benchmark(lambda: deque(perturber.batches(masks), maxlen=0))


@pytest.mark.benchmark(group="lime, one block of 64 perturbations")
@pytest.mark.parametrize("blocks", [1, 16])
def test_solve_the_surrogate(benchmark, regions, blocks) -> None:
    random = np.random.default_rng(0)
    surrogate = Surrogate(reach(regions, 7, 7))
    for _ in range(blocks):
        masks = folded_hadamard(regions.count, random)
        surrogate.add(masks, random.normal(size=len(masks)), random.normal(size=(len(masks), PLACES)))
    benchmark(surrogate.estimate)


@pytest.mark.benchmark(group="lime, one block of 64 perturbations")
def test_take_scores_into_the_surrogate(benchmark, regions, masks) -> None:
    random = np.random.default_rng(0)
    scores, contributions = random.normal(size=len(masks)), random.normal(size=(len(masks), PLACES))
    benchmark(Surrogate(reach(regions, 7, 7)).add, masks, scores, contributions)


@pytest.mark.benchmark(group="lime, the package's surrogate, 1000 samples")
@pytest.mark.parametrize("selection", ["none", "highest_weights", "forward_selection"])
def test_solve_as_the_package_does(benchmark, regions, selection) -> None:
    masks = independent(regions.count, 1000, np.random.RandomState(0))
    scores = np.random.default_rng(0).normal(size=len(masks))
    benchmark(fit_ridge, masks, scores, features=6, selection=selection)


@pytest.mark.benchmark(group="lime, whole")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_explain_one_radiograph(benchmark, bundle, image, precision) -> None:
    lime = Explainer(Classifier(bundle, provider="cpu", precision=precision)).lime
    benchmark.pedantic(lime.explain, (image, TARGET, LimeOptions(samples=64)), rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="lime and shap, whole, their defaults")
@pytest.mark.parametrize("method", ["lime", "shapley"])
def test_explain_as_by_default(benchmark, model, image, method) -> None:
    benchmark.pedantic(getattr(model.explainer, method).explain, (image, TARGET), rounds=10, warmup_rounds=1)
