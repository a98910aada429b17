from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import InputError
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.lime import perturbations
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.lime.surrogate import Estimate, Surrogate, expected_overlap
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Lime:
    bundle = Bundle.open(tiny_bundle)
    return Lime(Classifier(bundle, provider="cpu"), GradCam(bundle))


@pytest.fixture(scope="module")
def image(radiographs: Path) -> np.ndarray:
    return to_input(read_radiograph(min(radiographs.iterdir())))


@pytest.mark.parametrize("m", [1, 2, 4, 8, 12, 20, 24, 40, 44, 48, 60, 72])
def test_hadamard_rows_are_orthogonal(m: int) -> None:
    matrix = perturbations.hadamard(m).astype(int)
    np.testing.assert_array_equal(matrix @ matrix.T, m * np.eye(m))


@pytest.mark.parametrize("count", [8, 11, 36, 49])
def test_a_folded_block_has_strength_three(count: int) -> None:
    masks = perturbations.folded_hadamard(count, np.random.default_rng(1))
    signs = masks * 2 - 1.0
    np.testing.assert_array_equal(masks[::2], 1 - masks[1::2])
    np.testing.assert_array_equal(signs.T @ signs, len(masks) * np.eye(count))
    for first in range(3):  # no main effect meets a two-way interaction
        assert not (signs[:, first, None] * signs).T.dot(signs)[first + 1 :, :first].any()
    assert len(masks) == 2 * perturbations.order(count) > 2 * count


def test_blocks_differ_by_seed_and_repeat_by_seed() -> None:
    one, same, other = (perturbations.folded_hadamard(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def shares(count: int) -> np.ndarray:
    """Every superpixel is next to its own place, and a little to its neighbours'."""
    near = np.exp(-0.5 * (np.subtract.outer(np.arange(count), np.arange(count)) / 0.4) ** 2)
    return near / near.sum(axis=0)


def fitted(masks: np.ndarray, parts: np.ndarray) -> Estimate:
    surrogate = Surrogate(shares(parts.shape[1]))
    surrogate.add(masks, parts.sum(axis=1), parts)
    return surrogate.estimate()


def test_surrogate_recovers_a_linear_truth_and_states_little_doubt() -> None:
    random = np.random.default_rng(2)
    effects = np.diag(random.normal(size=16))
    masks = np.concatenate([perturbations.folded_hadamard(16, random) for _ in range(12)])
    found = fitted(masks, masks @ effects + 3.0 / 16)
    np.testing.assert_allclose(found.coefficients, effects.sum(axis=1), atol=1e-2)
    assert found.intercept == pytest.approx(3.0, abs=0.05)
    assert found.r_squared == pytest.approx(1.0, abs=1e-3)
    assert found.variance.max() < 1e-3
    assert expected_overlap(found) > 0.95


def test_with_many_samples_the_features_count_for_nothing() -> None:
    random = np.random.default_rng(3)
    masks = np.concatenate([perturbations.folded_hadamard(16, random) for _ in range(200)])
    signs = masks * 2 - 1.0
    scores = (
        signs @ random.normal(size=16) + 2 * signs[:, 0] * signs[:, 1] * signs[:, 2] + random.normal(size=len(masks))
    )
    misleading = random.normal(size=(len(masks), 16))
    surrogate = Surrogate(shares(16))
    for start in range(0, len(masks), 400):
        rows = slice(start, start + 400)
        surrogate.add(masks[rows], scores[rows], misleading[rows])
    plain = np.linalg.lstsq(np.column_stack([masks, np.ones(len(masks))]), scores, rcond=None)[0][:-1]
    np.testing.assert_allclose(surrogate.estimate().coefficients, plain, atol=0.1)


def test_parts_of_a_block_add_up_to_the_block() -> None:
    random = np.random.default_rng(3)
    masks = np.concatenate([perturbations.folded_hadamard(16, random) for _ in range(14)])
    parts = random.normal(size=(len(masks), 16))
    whole, pieces = Surrogate(shares(16)), Surrogate(shares(16))
    whole.add(masks, parts.sum(axis=1), parts)
    for start in range(0, len(masks), 10):
        pieces.add(masks[start : start + 10], parts[start : start + 10].sum(axis=1), parts[start : start + 10])
    np.testing.assert_allclose(whole.estimate().coefficients, pieces.estimate().coefficients)
    np.testing.assert_allclose(whole.estimate().variance, pieces.estimate().variance)


def test_places_beat_least_squares_on_interactions_and_the_intervals_hold() -> None:
    random = np.random.default_rng(4)
    count = 24
    errors, plain_errors, inside, stated, observed = [], [], [], [], []
    for _ in range(6):
        effects = np.eye(count) * random.normal(size=count) + np.eye(count, k=1) * 0.2
        threefold = random.normal(scale=0.5, size=count)
        runs = []
        for _ in range(6):
            masks = perturbations.folded_hadamard(count, random)
            signs = masks * 2 - 1.0
            parts = signs @ effects / 2 + threefold * signs * np.roll(signs, 1, 1) * np.roll(signs, -1, 1)
            found = fitted(masks, parts)
            truth = effects.sum(axis=1)
            plain = 2 * signs.T @ parts.sum(axis=1) / len(masks)
            errors.append(((found.coefficients - truth) ** 2).mean())
            plain_errors.append(((plain - truth) ** 2).mean())
            inside.append(np.abs(found.coefficients - truth) < 1.96 * np.sqrt(found.variance))
            stated.append(expected_overlap(found))
            runs.append(set(np.argsort(-np.abs(found.coefficients))[:5]))
        observed += [len(one & other) / 5 for one, other in combinations(runs, 2)]
    assert np.mean(errors) < 0.5 * np.mean(plain_errors)
    assert 0.93 < np.mean(inside) <= 1.0
    assert np.mean(stated) <= np.mean(observed) + 0.02


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_very_few_samples_give_a_cautious_answer(pairs: int) -> None:
    random = np.random.default_rng(5)
    masks = perturbations.folded_hadamard(24, random)[: 2 * pairs]
    found = fitted(masks, masks * 1.0)
    assert (np.abs(found.coefficients - 1) <= 1.96 * np.sqrt(found.variance)).all()


def test_two_runs_are_the_same_to_the_last_bit(engine: Lime, image: np.ndarray) -> None:
    one, two = (engine.explain(image, "PNEUMONIA") for _ in range(2))
    assert one.to_json() == two.to_json()
    assert engine.explain(image, "PNEUMONIA", LimeOptions(seed=one.seed + 1)).to_json() != one.to_json()


def test_another_picture_or_option_draws_other_perturbations(engine: Lime, image: np.ndarray) -> None:
    seeds = {
        engine.explain(picture, "PNEUMONIA", LimeOptions(superpixels=count)).seed
        for picture in (image, 255 - image)
        for count in (16, 20)
    }
    assert len(seeds) == 4


def test_fast_agrees_with_the_converged_package_computation(engine: Lime, image: np.ndarray) -> None:
    fast = engine.explain(image, "PNEUMONIA", LimeOptions(samples=800))
    converged = engine.explain(image, "PNEUMONIA", LimeOptions(mode="reference", score="logodds", samples=4000))
    assert np.corrcoef(fast.coefficients, converged.coefficients)[0, 1] > 0.99
    mirrored = engine.explain(image, "NORMAL", LimeOptions(samples=800, seed=fast.seed))
    np.testing.assert_allclose(mirrored.coefficients, -fast.coefficients)


def test_the_default_does_not_chase_the_last_doubt(engine: Lime, image: np.ndarray) -> None:
    unsettled = engine.explain(image, "PNEUMONIA", LimeOptions(superpixels=60))
    assert unsettled.stability < 0.9
    assert unsettled.stopped == "samples"
    assert unsettled.estimate.samples == 3.5 * perturbations.order(unsettled.superpixels.count)


def test_samples_are_whole_pairs(engine: Lime, image: np.ndarray) -> None:
    fast = engine.explain(image, "PNEUMONIA", LimeOptions(samples=251, segments="grid"))
    assert (fast.superpixels.count, fast.estimate.samples, fast.stopped) == (30, 252, "samples")


def test_budget_stops_after_the_batch_it_cannot_exceed(engine: Lime, image: np.ndarray) -> None:
    fast = engine.explain(image, "PNEUMONIA", LimeOptions(budget=1e-9, segments="grid"))
    assert (fast.estimate.samples, fast.stopped) == (16, "budget")


def test_a_large_budget_ends_at_the_limit(engine: Lime, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.explanation.lime.sampling.LIMIT", 100)
    fast = engine.explain(image, "PNEUMONIA", LimeOptions(budget=1e9, segments="grid"))
    assert (fast.estimate.samples, fast.stopped) == (100, "limit")


def test_more_stability_takes_more_samples_and_a_limit_is_admitted(
    engine: Lime, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.explanation.lime.sampling.LIMIT", 1000)
    low = engine.explain(image, "PNEUMONIA", LimeOptions(superpixels=60, seed=1, stability=0.5))
    high = engine.explain(image, "PNEUMONIA", LimeOptions(superpixels=60, seed=1, stability=low.stability + 0.005))
    beyond = engine.explain(image, "PNEUMONIA", LimeOptions(superpixels=60, seed=1, stability=0.9999))
    assert low.estimate.samples < high.estimate.samples <= beyond.estimate.samples <= 1000
    assert (low.stopped, high.stopped, beyond.stopped) == ("stability", "stability", "limit")
    assert high.stability >= low.stability + 0.005
    assert beyond.stability < 0.9999


@pytest.mark.parametrize(("count", "samples"), [(1, None), (4, None), (9, 600)])
def test_few_superpixels_are_enumerated(engine: Lime, image: np.ndarray, count: int, samples: int | None) -> None:
    exact = engine.explain(image, "PNEUMONIA", LimeOptions(segments="grid", superpixels=count, samples=samples))
    assert (exact.stopped, exact.estimate.samples, exact.stability) == ("exact", 2**count, 1.0)
    np.testing.assert_array_equal(exact.intervals[:, 0], exact.intervals[:, 1])
    if count == 1:
        hidden = np.full_like(image, image.mean(dtype=np.float64))
        shown, gone = engine.classifier.logodds(np.stack([image, hidden]))
        assert exact.coefficients[0] == pytest.approx(shown - gone, rel=1e-4)


def test_a_constant_picture_is_flat_and_says_so(engine: Lime) -> None:
    flat = engine.explain(np.full((224, 224), 90, np.float32), "NORMAL")
    assert flat.stopped == "flat"
    assert not flat.coefficients.any()


def test_nan_from_the_network_is_an_error_of_the_input(engine: Lime, image: np.ndarray) -> None:
    broken = image.copy()
    broken[100, 100] = np.nan
    for mode in ("fast", "reference"):
        with pytest.raises(InputError, match="no finite number") as caught:
            engine.explain(broken, "NORMAL", LimeOptions(mode=mode, segments="grid", samples=80))
        assert caught.value.kind == "not-finite"
