"""Shapley values and LIME from few evaluations, held to the exact answers from all coalitions.

    python benchmarks/exact_shapley.py [--radiographs 12] [--seeds 6] [--superpixels 12] [--quick]

With 12 superpixels there are 4,096 coalitions, and all of them are scored: that gives the exact Shapley values, and the
exact linear fit that LIME estimates, of the log-odds of PNEUMONIA. Every method then gets as many evaluations as the
table says, of these scores. Error: the sum of squared errors, as a share of the sum of the squared exact values. `shap`
is its KernelExplainer, asked for that many evaluations in all; the Leverage SHAP row is the weighted regression of that
paper on our coalitions (Musco and Witter 2025, algorithm 1, drawn by size instead of by coin). What LIME's reference
mode computes is what `lime` computes (tests/edge/explanation/test_lime_reference.py), so it stands in for it; it is
held to its own fit of all coalitions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from common import Image, inputs_of, mean_interval, model_for, parser, table
from cxr_edge import Model
from cxr_edge.explanation.lime.perturbations import FoldedBlocks, Masks, Perturber, exhaustive, fit_ridge, independent
from cxr_edge.explanation.lime.sampling import Scorer
from cxr_edge.explanation.lime.surrogate import Estimate, Surrogate, reach
from cxr_edge.explanation.shapley.surrogate import Coalitions, Regression, ShapleySurrogate, exact_shapley
from cxr_edge.explanation.superpixels import Superpixels, segment

Floats = NDArray[np.float64]
TOP = 3


@dataclass(frozen=True, eq=False)
class Game:
    """All coalitions of one radiograph.

    Attributes:
        scores: Log-odds by the coalition's number, whose bits say which superpixels are shown: [2^d].
        contributions: What each place of the features contributed: [2^d, places].
        shares: From `reach`.
    """

    scores: Floats
    contributions: Floats
    shares: Floats

    def numbers(self, masks: Masks) -> NDArray[np.int64]:
        """Which coalitions these are."""
        return masks.astype(np.int64) @ (1 << np.arange(masks.shape[1]))

    def ask(self, masks: NDArray[np.floating]) -> Floats:
        """The log-odds of any coalitions [n, d]."""
        return self.scores[self.numbers(np.rint(masks).astype(np.uint8))]


class _Kept:
    """Keeps what the scorer hands on."""

    def __init__(self) -> None:
        self.scores: list[Floats] = []
        self.contributions: list[Floats] = []

    def add(self, _masks: Masks, scores: Floats, contributions: Floats) -> None:
        """Takes in a batch."""
        self.scores.append(scores)
        self.contributions.append(contributions)


def play(model: Model, image: Image, regions: Superpixels) -> Game:
    """Scores every coalition of a radiograph."""
    kept = _Kept()
    masks = exhaustive(regions.count)
    order = np.random.default_rng(0).permutation(len(masks))  # the first batch decides on the linearisation
    Scorer(model.classifier, model.explainer.gradcam, Perturber(image, regions)).feed(masks[order], kept)  # type: ignore[arg-type]
    scores, contributions = np.concatenate(kept.scores), np.concatenate(kept.contributions)
    numbers = masks[order].astype(np.int64) @ (1 << np.arange(regions.count))
    features = model.bundle.manifest.features
    places = np.argsort(numbers)
    return Game(scores[places], contributions[places], reach(regions, features.height, features.width))


def ours(game: Game, evaluations: int, seed: int) -> Estimate:
    """Our Shapley values."""
    count = len(game.shares)
    masks = Coalitions(count, np.random.default_rng(seed)).draw(evaluations)
    surrogate = ShapleySurrogate(game.shares)
    numbers = game.numbers(masks)
    surrogate.add(masks, game.scores[numbers], game.contributions[numbers])
    return surrogate.estimate()


def leverage(game: Game, evaluations: int, seed: int) -> Estimate:
    """The regression alone, on the same coalitions."""
    count = len(game.shares)
    masks = Coalitions(count, np.random.default_rng(seed)).draw(evaluations)[2:]
    sizes = masks[::2].sum(axis=1).astype(int)
    alike = np.minimum(sizes, count - sizes)
    weights = 1 / (sizes * (count - sizes) * np.bincount(alike)[alike])
    odd = (game.ask(masks[::2]) - game.ask(masks[1::2])) / 2
    whole = float(game.scores[-1] - game.scores[0])
    found = Regression.fit(masks[::2] * 2.0 - 1, odd, weights, whole)
    return Estimate(found.values, found.noise, float(game.scores[0]), np.nan, evaluations)


def package_shap(game: Game, evaluations: int, seed: int) -> Estimate:
    """The `shap` package; it states no intervals."""
    import shap

    count = len(game.shares)
    np.random.seed(seed)  # noqa: NPY002  # the package draws from the legacy generator
    explainer = shap.KernelExplainer(game.ask, np.zeros((1, count)))
    values = explainer.shap_values(np.ones((1, count)), nsamples=evaluations - 2, l1_reg=False, silent=True)[0]
    return Estimate(values, np.full(count, np.nan), float(game.scores[0]), np.nan, evaluations)


def lime_fast(game: Game, evaluations: int, seed: int) -> Estimate:
    """LIME's fast mode."""
    masks = FoldedBlocks(len(game.shares), np.random.default_rng(seed)).draw(evaluations)
    surrogate = Surrogate(game.shares)
    numbers = game.numbers(masks)
    surrogate.add(masks, game.scores[numbers], game.contributions[numbers])
    return surrogate.estimate()


def lime_reference(game: Game, evaluations: int, seed: int) -> Estimate:
    """What `lime` computes, on the log-odds."""
    masks = independent(len(game.shares), evaluations, np.random.RandomState(seed))
    return fit_ridge(masks, game.ask(masks))


def exact_fits(game: Game) -> tuple[Floats, Floats, Floats]:
    """Exact Shapley values, the exact linear fit with equal weights, and the one with the kernel of `lime`."""
    masks = exhaustive(len(game.shares))
    scores = game.ask(masks)
    return exact_shapley(scores), (2 * masks - 1.0).T @ scores / len(scores) * 2, fit_ridge(masks, scores).coefficients


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 12, quick=1)
    options.number("--seeds", 6, quick=2)
    options.number("--superpixels", 12, quick=7)
    options.add_argument("--evaluations", type=int, nargs="+", default=None)
    arguments = options.read()
    model = model_for(arguments)
    steps = arguments.evaluations or ([32, 64] if arguments.quick else [64, 112, 128, 256, 1000])
    methods: dict[str, tuple[Callable[[Game, int, int], Estimate], int]] = {"SHAP, ours": (ours, 0)}
    methods["Leverage SHAP, regression"] = (leverage, 0)
    if find_spec("shap") is not None:
        methods["`shap` KernelExplainer"] = (package_shap, 0)
    methods |= {"LIME, ours": (lime_fast, 1), "`lime`": (lime_reference, 2)}
    found: dict[tuple[str, int], list[list[float]]] = {}
    images = inputs_of(arguments.data.spread(arguments.radiographs))
    for number, image in enumerate(images):
        regions = next(
            each
            for count in range(arguments.superpixels, 0, -1)
            if (each := segment(image, count=count)).count <= arguments.superpixels
        )
        game = play(model, image, regions)
        truths = exact_fits(game)
        for name, (run, which) in methods.items():
            truth = truths[which]
            for evaluations in steps:
                runs = [_judged(run(game, evaluations, seed), truth) for seed in range(arguments.seeds)]
                found.setdefault((name, evaluations), []).append(np.mean(runs, axis=0).tolist())
        print(f"radiograph {number + 1} of {len(images)} done", flush=True)
    rows = []
    for (name, evaluations), values in found.items():
        errors, tops, holding = np.array(values).T
        mean, low, high = mean_interval(errors.tolist())
        interval = "" if np.isnan(low) else f" ({low:.4f} to {high:.4f})"
        holds = "" if np.isnan(holding).all() else f"{np.mean(holding):.1%}"
        rows.append([name, str(evaluations), f"{mean:.4f}{interval}", f"{np.mean(tops):.2f}", holds])
    table(["method", "evaluations", "error (less is better)", f"top {TOP} found", "95 % intervals that hold"], rows)
    print(f"{len(images)} test radiographs, {arguments.seeds} seeds, 95 % bootstrap intervals by radiograph")


def _judged(estimate: Estimate, truth: Floats) -> list[float]:
    found = estimate.coefficients
    error = float(((found - truth) ** 2).sum() / (truth**2).sum())
    leaders = [{*np.argsort(-np.abs(each))[:TOP].tolist()} for each in (found, truth)]
    half = 1.96 * np.sqrt(estimate.variance)
    holding = np.nan if np.isnan(half).any() else float((np.abs(found - truth) <= half).mean())
    return [error, len(leaders[0] & leaders[1]) / TOP, holding]


if __name__ == "__main__":
    main()
