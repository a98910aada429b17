"""Shapley values: exact where they can be, equal to KernelSHAP on the same coalitions, and closer than it with few."""

from itertools import permutations

import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime.perturbations import Perturber, exhaustive
from cxr_edge.explanation.lime.process import PlaceProcess
from cxr_edge.explanation.shapley.engine import Shapley
from cxr_edge.explanation.shapley.surrogate import (
    Coalitions,
    Regression,
    ShapleySurrogate,
    _shapley_values,
    exact_shapley,
)
from cxr_edge.explanation.superpixels import segment
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.results.schema import check


@pytest.fixture(scope="module")
def engine(tiny_bundle) -> Shapley:
    bundle = Bundle.open(tiny_bundle)
    return Shapley(Classifier(bundle, provider="cpu"), GradCam(bundle))


@pytest.fixture(scope="module")
def image(radiographs) -> np.ndarray:
    return to_input(read_radiograph(min(radiographs.iterdir())))


def game(masks: np.ndarray, seed: int = 0) -> np.ndarray:
    """A game with effects of one, two and three players."""
    random, count = np.random.default_rng(seed), masks.shape[1]
    one, two, three = (random.normal(0, scale, (count,) * order) for order, scale in ((1, 1), (2, 0.3), (3, 0.05)))
    z = masks.astype(float)
    return z @ one + np.einsum("nj,nk,jk->n", z, z, two) + np.einsum("ni,nj,nk,ijk->n", z, z, z, three) + 0.7


def by_orders(count: int, seed: int = 0) -> np.ndarray:
    """Shapley values from their definition: the mean of what a player adds over all orders."""
    values = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        masks = np.zeros((count + 1, count), np.uint8)
        for place, player in enumerate(order):
            masks[place + 1 :, player] = 1
        values[list(order)] += np.diff(game(masks, seed))
    return values / len(orders)


def test_all_coalitions_give_the_values_of_the_definition():
    np.testing.assert_allclose(exact_shapley(game(exhaustive(6))), by_orders(6), atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13])
def test_coalitions_are_pairs_of_complements_drawn_once_with_all_sizes_alike(count):
    drawn = Coalitions(count, np.random.default_rng(3)).draw(600)
    np.testing.assert_array_equal(drawn[::2], 1 - drawn[1::2])
    assert len({mask.tobytes() for mask in drawn}) == len(drawn) == min(600, 2**count)
    assert drawn[0].all()
    if count == 13:
        sizes = np.bincount(np.minimum(drawn[2::2].sum(axis=1), 13 - drawn[2::2].sum(axis=1)), minlength=7)
        assert sizes[1] == 13  # all that there are
        assert np.ptp(sizes[2:]) <= 1


def test_batches_go_on_where_the_last_one_ended():
    whole = Coalitions(9, np.random.default_rng(1)).draw(60)
    parts = Coalitions(9, np.random.default_rng(1))
    np.testing.assert_array_equal(np.concatenate([parts.draw(20), parts.draw(40)]), whole)


def test_the_values_of_a_process_are_those_of_its_kernel():
    """A kernel column is a game; its Shapley values are the covariances that the posterior is made of."""
    process = PlaceProcess(np.array([0.5, 0.2, 0.2, 0.1, 0.0]))
    signs = np.array([[1, -1, 1, 1, -1.0], [1, 1, 1, 1, 1.0]])
    everyone = exhaustive(5) * 2.0 - 1
    columns = process.covariance(everyone, signs)
    expected = np.stack([exact_shapley(column) for column in columns.T])
    eye = np.eye(2)
    for row in (0, 1):
        found, _ = _shapley_values(process, signs, np.zeros((2, 2)), eye[row])
        np.testing.assert_allclose(found, expected[row], atol=1e-9)
    _, prior = _shapley_values(process, signs, np.zeros((2, 2)), eye[0])
    gram = process.covariance(everyone, everyone)
    half = np.stack([exact_shapley(row) for row in gram])
    np.testing.assert_allclose(prior, [exact_shapley(half[:, j])[j] for j in range(5)], atol=1e-9)


def test_it_is_what_kernel_shap_computes_from_the_same_coalitions():
    shap = pytest.importorskip("shap", reason="the shap extra is not installed")
    count = 10
    coalitions = Coalitions(count, np.random.default_rng(5)).draw(122)[2:]
    weights = kernel_of(coalitions)
    explainer = shap.KernelExplainer(game, np.zeros((1, count)))
    explainer.shap_values(np.ones((1, count)), nsamples=len(coalitions), l1_reg=False, silent=True)
    # The package draws its own coalitions; here it solves for ours.
    explainer.nsamplesAdded = len(coalitions)
    explainer.maskMatrix, explainer.kernelWeights = coalitions.astype(float), weights
    explainer.ey = game(coalitions)[:, None]
    explainer.l1_reg = False
    expected, _ = explainer.solve(1.0, 0)
    odd = (game(coalitions[::2]) - game(coalitions[1::2])) / 2
    whole = float(np.diff(game(np.stack([np.zeros(count), np.ones(count)])))[0])
    ours = Regression.fit(coalitions[::2] * 2.0 - 1, odd, weights[::2], whole)
    np.testing.assert_allclose(ours.values, expected, atol=1e-8)
    assert expected.sum() == pytest.approx(whole)


def kernel_of(coalitions: np.ndarray) -> np.ndarray:
    """Shapley's kernel over how likely a coalition was to be drawn, where sizes share the draws out evenly."""
    count = coalitions.shape[1]
    sizes = coalitions.sum(axis=1).astype(int)
    alike = np.minimum(sizes, count - sizes)
    return 1 / (sizes * (count - sizes) * np.bincount(alike)[alike])


def test_few_coalitions_are_nearer_to_the_exact_values_than_kernel_shap(image):
    """The surrogate with the same coalitions of a radiograph, against the regression alone; and the intervals hold."""
    shipped = load(provider="cpu").explainer.shapley
    regions = segment(image, method="grid", count=9)
    masks = exhaustive(9)
    found = _scores(shipped, image, regions, masks)
    scores, exact = dict(zip(map(bytes, masks), found, strict=True)), exact_shapley(found)
    errors, plain, inside = [], [], []
    for seed in range(4):
        found = shipped.explain(image, "PNEUMONIA", LimeOptions(samples=64, seed=seed), regions=regions)
        assert found.coefficients.sum() == pytest.approx(exact.sum(), abs=1e-3)
        errors.append(((found.coefficients - exact) ** 2).sum())
        low, high = found.intervals.T
        inside.append(((low <= exact) & (exact <= high)).mean())
        drawn = Coalitions(9, np.random.default_rng(seed)).draw(64)[2:]
        odd = np.array([(scores[bytes(mask)] - scores[bytes(1 - mask)]) / 2 for mask in drawn[::2]])
        whole = float(exact.sum())
        regression = Regression.fit(drawn[::2] * 2.0 - 1, odd, kernel_of(drawn)[::2], whole)
        plain.append(((regression.values - exact) ** 2).sum())
    assert np.mean(errors) < 0.7 * np.mean(plain)
    assert np.mean(inside) > 0.7


def _scores(engine, image, regions, masks):
    scores = np.empty(len(masks))
    for part, inputs in Perturber(image, regions).batches(masks):
        scores[part] = engine.classifier.logodds(inputs)
    return scores


def test_more_coalitions_than_features_are_kept_of_bring_the_values_nearer():
    shares = np.eye(14)
    masks = Coalitions(14, np.random.default_rng(0)).draw(900)
    exact = exact_shapley(game(exhaustive(14)))
    errors = []
    for count in (100, 300, 900):
        surrogate = ShapleySurrogate(shares)
        for start in range(0, count, 20):
            part = masks[start : start + 20]
            surrogate.add(part, game(part), np.zeros((len(part), 14)))
        assert surrogate.samples == count
        errors.append(float(((surrogate.estimate().coefficients - exact) ** 2).sum()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01 * (exact**2).sum()


def test_the_same_options_give_the_same_bytes_and_the_other_label_the_opposite(engine, image):
    one, same, other = (engine.explain(image, label) for label in ("PNEUMONIA", "PNEUMONIA", "NORMAL"))
    assert one.to_json() == same.to_json()
    np.testing.assert_allclose(other.coefficients, -one.coefficients)
    score = float(engine.classifier.logodds(image[None])[0])
    assert one.estimate.intercept + one.coefficients.sum() == pytest.approx(score, abs=1e-4)


def test_what_hides_nothing_has_nothing_to_share_out(engine):
    flat = engine.explain(np.full((224, 224), 90, np.float32), "PNEUMONIA")
    assert (flat.stopped, flat.estimate.samples) == ("flat", 0)
    assert not flat.coefficients.any()


@pytest.mark.parametrize("superpixels", [1, 2, 3, 5])
def test_few_superpixels_are_exact(engine, image, superpixels):
    options = LimeOptions(superpixels=superpixels, segments="grid", budget=5.0)
    found = engine.explain(image, "PNEUMONIA", options)
    assert found.stopped == "exact"
    assert found.estimate.samples == 2**found.superpixels.count


def test_a_stability_and_a_budget_stop_it(engine, image):
    stable = engine.explain(image, "PNEUMONIA", LimeOptions(stability=0.5, segments="grid"))
    assert stable.stopped == "stability"
    assert stable.stability >= 0.5
    short = engine.explain(image, "PNEUMONIA", LimeOptions(budget=1e-6, segments="grid"))
    assert (short.stopped, short.estimate.samples) == ("budget", 16)


def test_the_reference_mode_is_for_lime_alone(engine, image):
    with pytest.raises(UsageError, match="reference mode is LIME's"):
        engine.explain(image, "PNEUMONIA", LimeOptions(mode="reference"))


def test_a_second_fill_says_how_far_the_ranking_changes(engine, image):
    lime = load(engine.classifier.bundle.folder, provider="cpu").explainer.lime
    for each in (engine, lime):
        plain = each.explain(image, "PNEUMONIA", LimeOptions(seed=2))
        both = each.explain(image, "PNEUMONIA", LimeOptions(seed=2, second_fill="black"))
        black = each.explain(image, "PNEUMONIA", LimeOptions(seed=2, fill="black"))
        assert (plain.fill, plain.change, black.fill) == ("mean", None, "black")
        np.testing.assert_array_equal(both.coefficients, plain.coefficients)
        assert not np.allclose(black.coefficients, plain.coefficients)
        leaders = {*plain.ranking[:5].tolist()} & {*black.ranking[:5].tolist()}
        assert both.change.overlap == len(leaders) / 5
        assert -1 <= both.change.correlation < 1
        assert both.to_json()["second_fill"]["fill"] == "black"
    with pytest.raises(UsageError, match="second fill is blur"):
        LimeOptions(fill="blur", second_fill="blur")
    with pytest.raises(UsageError, match="fill 'white'"):
        LimeOptions(fill="white")


def test_fills_hide_as_they_say(image):
    regions = segment(image)
    nobody = np.zeros((1, regions.count), np.uint8)
    hidden = {}
    for fill in ("mean", "blur", "black"):
        ((_, inputs),) = Perturber(image, regions, fill=fill).batches(nobody)
        hidden[fill] = inputs[0].copy()
    assert not hidden["black"].any()
    np.testing.assert_allclose(hidden["mean"], regions.means(image)[regions.labels])
    assert abs(hidden["blur"].mean() - image.mean()) < 2
    assert hidden["blur"].std() < image.std()


def test_the_record_and_the_package_s_own_object_say_the_same(tiny_bundle, radiographs):
    explanation = load(tiny_bundle, provider="cpu").explain(min(radiographs.iterdir()), method="shap")
    assert explanation.saliency is explanation.lime is None
    record = check(explanation.to_json()).explanation.shap
    assert record.method == "shap"
    assert len(record.coefficients) == explanation.shap.superpixels.count
    shap = pytest.importorskip("shap", reason="the shap extra is not installed")
    found = explanation.shap.to_shap()
    assert isinstance(found, shap.Explanation)
    np.testing.assert_array_equal(found.values, explanation.shap.coefficients)
    assert found.base_values + found.values.sum() == pytest.approx(explanation.answer.prediction.logodds, abs=1e-4)
