"""Shapley values and LIME from few evaluations, held to the exact answers from all coalitions.

    python benchmarks/exact_shapley.py [--radiographs 12] [--seeds 6] [--superpixels 12] [--quick]

With 12 superpixels there are 4,096 coalitions, and all of them are scored: that gives the exact Shapley values, and the
exact linear fit that LIME estimates, of the log-odds of PNEUMONIA. Every method then gets as many evaluations as the
table says, of these scores. Error: the sum of squared errors, as a share of the sum of the squared exact values. `shap`
is its KernelExplainer, asked for that many evaluations in all; Leverage SHAP is algorithm 1 of its paper (Musco and
Witter 2025), which draws by coin: as many on average. What LIME's reference mode computes is what `lime` computes
(tests/edge/explanation/test_lime_reference.py), so it stands in for it. Every LIME is held to the linear fit of all
coalitions by its own kernel. Only ours state intervals.

With --many N, N radiographs of about 30 superpixels come after these: there are too many coalitions of them, and
65,536, drawn by size, stand in for the exact answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import comb
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import explanation_peers as peers
from common import Image, inputs_of, mean_interval, model_for, parser, table
from cxr_edge import Model
from cxr_edge.explanation.lime.perturbations import (
    FoldedBlocks,
    Masks,
    Perturber,
    exhaustive,
    fit_ridge,
    kernel_weights,
)
from cxr_edge.explanation.lime.sampling import Scorer
from cxr_edge.explanation.lime.surrogate import Estimate, Surrogate, reach
from cxr_edge.explanation.shapley.surrogate import Coalitions, Regression, ShapleySurrogate, exact_shapley
from cxr_edge.explanation.superpixels import Superpixels, segment

Floats = NDArray[np.float64]
TOP = 3
Peer = Callable[[peers.Ask, int, int, int], Floats]


class Game(Protocol):
    """A radiograph whose superpixels are shown or hidden.

    Attributes:
        shares: From `reach`: [d, places].
    """

    shares: Floats

    def both(self, masks: Masks) -> tuple[Floats, Floats]:
        """The log-odds of coalitions [n, d] and what each place of the features contributed: [n], [n, places]."""
        ...


@dataclass(frozen=True, eq=False)
class Known:
    """A radiograph of which all coalitions were scored.

    Attributes:
        scores: Log-odds by the coalition's number, whose bits say which superpixels are shown: [2^d].
        contributions: What each place of the features contributed: [2^d, places].
        shares: See `Game`.
    """

    scores: Floats
    contributions: Floats
    shares: Floats

    def both(self, masks: Masks) -> tuple[Floats, Floats]:
        """See `Game`."""
        numbers = masks.astype(np.int64) @ (1 << np.arange(masks.shape[1]))
        return self.scores[numbers], self.contributions[numbers]


class Scored:
    """A radiograph whose coalitions are scored when they are asked for."""

    def __init__(self, model: Model, image: Image, regions: Superpixels) -> None:
        features = model.bundle.manifest.features
        self.shares = reach(regions, features.height, features.width)
        self._scorer = Scorer(model.classifier, model.explainer.gradcam, Perturber(image, regions))

    def both(self, masks: Masks) -> tuple[Floats, Floats]:
        """See `Game`."""
        kept = _Kept()
        self._scorer.feed(masks, kept)  # type: ignore[arg-type]
        return np.concatenate(kept.scores), np.concatenate(kept.contributions)


def ask(game: Game, masks: NDArray[np.floating]) -> Floats:
    """The log-odds of any coalitions [n, d], as packages give them."""
    return game.both(np.rint(masks).astype(np.uint8))[0]


class _Kept:
    """Keeps what the scorer hands on."""

    def __init__(self) -> None:
        self.scores: list[Floats] = []
        self.contributions: list[Floats] = []

    def add(self, _masks: Masks, scores: Floats, contributions: Floats) -> None:
        """Takes in a batch."""
        self.scores.append(scores)
        self.contributions.append(contributions)


def play(model: Model, image: Image, regions: Superpixels) -> Known:
    """Scores every coalition of a radiograph."""
    live, masks = Scored(model, image, regions), exhaustive(regions.count)
    order = np.random.default_rng(0).permutation(len(masks))  # the first batch decides on the linearisation
    scores, contributions = live.both(masks[order])
    places = np.argsort(masks[order].astype(np.int64) @ (1 << np.arange(regions.count)))
    return Known(scores[places], contributions[places], live.shares)


def ours(game: Game, evaluations: int, seed: int) -> Estimate:
    """Our Shapley values."""
    masks = Coalitions(len(game.shares), np.random.default_rng(seed)).draw(evaluations)
    surrogate = ShapleySurrogate(game.shares)
    surrogate.add(masks, *game.both(masks))
    return surrogate.estimate()


def by_size(masks: Masks, scores: Floats) -> Regression:
    """The regression on coalitions that were drawn by size, the whole picture and the hidden one first."""
    count, pairs = masks.shape[1], masks[2::2]
    sizes = pairs.sum(axis=1).astype(int)
    alike = np.minimum(sizes, count - sizes)
    weights = 1 / (sizes * (count - sizes) * np.bincount(alike)[alike])
    return Regression.fit(pairs * 2.0 - 1, (scores[2::2] - scores[3::2]) / 2, weights, float(scores[0] - scores[1]))


def peer(estimate: Peer) -> Callable[[Game, int, int], Estimate]:
    """Another package's or paper's estimate, which states no intervals."""

    def run(game: Game, evaluations: int, seed: int) -> Estimate:
        values = estimate(partial(ask, game), len(game.shares), evaluations, seed)
        return Estimate(values, np.full(len(values), np.nan), np.nan, np.nan, evaluations)

    return run


def lime_fast(game: Game, evaluations: int, seed: int) -> Estimate:
    """LIME's fast mode."""
    masks = FoldedBlocks(len(game.shares), np.random.default_rng(seed)).draw(evaluations)
    surrogate = Surrogate(game.shares)
    surrogate.add(masks, *game.both(masks))
    return surrogate.estimate()


def exact_fits(game: Known) -> tuple[Floats, ...]:
    """Exact Shapley values, then the exact linear fits by `KERNELS`."""
    masks = exhaustive(len(game.shares))
    scores = ask(game, masks)
    plain, _, captum = (linear(masks, scores, each(masks)) for each in KERNELS)
    return exact_shapley(scores), plain, fit_ridge(masks, scores).coefficients, captum


def converged_fits(game: Game, samples: int) -> tuple[Floats, ...]:
    """The same from a sample of the coalitions."""
    count = len(game.shares)
    masks = Coalitions(count, np.random.default_rng(12345)).draw(samples)
    scores = game.both(masks)[0]
    sizes = masks.sum(axis=1).astype(int)
    drawn = np.bincount(sizes, minlength=count + 1)
    alike = np.array([comb(count, int(size)) for size in sizes], np.float64) / drawn[sizes]  # to weigh all the same
    return by_size(masks, scores).values, *(linear(masks, scores, alike * each(masks)) for each in KERNELS)


def linear(masks: Masks, scores: Floats, weights: Floats) -> Floats:
    """The weighted linear fit's slopes."""
    root = np.sqrt(weights / weights.sum())
    design = np.column_stack([masks, np.ones(len(masks))]) * root[:, None]
    return np.asarray(np.linalg.lstsq(design, scores * root)[0][:-1], np.float64)


METHODS: dict[str, tuple[Callable[[Game, int, int], Estimate], int, str | None]] = {
    "SHAP, ours": (ours, 0, None),
    "Leverage SHAP": (peer(peers.leverage_shap), 0, None),
    "`shap` KernelExplainer": (peer(peers.package_shap), 0, "shap"),
    "Captum KernelShap": (peer(peers.captum_kernel), 0, "captum"),
    "Captum ShapleyValueSampling": (peer(peers.captum_permutations), 0, "captum"),
    "DIANNA KernelSHAP": (peer(peers.dianna_shap), 0, "dianna"),
    "LIME, ours": (lime_fast, 1, None),
    "`lime`": (peer(peers.package_lime), 2, None),
    "DIANNA LIME": (peer(peers.dianna_lime), 2, "dianna"),
    "Captum Lime": (peer(peers.captum_lime), 3, "captum"),
}
"""By name: what estimates, which of the fits it is held to, and the package that it needs."""
KERNELS: tuple[Callable[[Masks], Floats], ...] = (
    lambda masks: np.ones(len(masks)),
    kernel_weights,
    peers.captum_kernel_weights,
)
"""How the linear fits weigh the coalitions: ours, that of `lime`, that of Captum."""


def compare(games: Iterator[tuple[Game, tuple[Floats, ...]]], steps: list[int], seeds: int, what: str) -> None:
    """Have every method estimate every game, and print a table of how far it is off."""
    found: dict[tuple[str, int], list[list[float]]] = {}
    count = 0
    for count, (game, truths) in enumerate(games, start=1):
        for name, (run, which, needs) in METHODS.items():
            if needs and find_spec(needs) is None:
                continue
            for evaluations in steps:
                runs = [_judged(run(game, evaluations, seed), truths[which]) for seed in range(seeds)]
                found.setdefault((name, evaluations), []).append(np.mean(runs, axis=0).tolist())
        print(f"{what}: radiograph {count} done", flush=True)
    rows = []
    for (name, evaluations), values in found.items():
        errors, tops, holding = np.array(values).T
        mean, low, high = mean_interval(errors.tolist())
        interval = "" if np.isnan(low) else f" ({low:.4f} to {high:.4f})"
        holds = "" if np.isnan(holding).all() else f"{np.mean(holding):.1%}"
        rows.append([name, str(evaluations), f"{mean:.4f}{interval}", f"{np.mean(tops):.2f}", holds])
    table(["method", "evaluations", "error (less is better)", f"top {TOP} found", "95 % intervals that hold"], rows)
    print(f"{what}: {count} test radiographs, {seeds} seeds, 95 % bootstrap intervals by radiograph\n")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 12, quick=1)
    options.number("--seeds", 6, quick=2)
    options.number("--superpixels", 12, quick=7)
    options.number("--many", 0, quick=1, help="radiographs of about 30 superpixels")
    options.number("--samples", 65536, quick=128, help="that stand in for the exact answer there")
    options.add_argument("--evaluations", type=int, nargs="+", default=None)
    arguments = options.read()
    model = model_for(arguments)
    steps = arguments.evaluations or ([32, 64] if arguments.quick else [64, 112, 128, 256, 1000])

    def few() -> Iterator[tuple[Game, tuple[Floats, ...]]]:
        for image in inputs_of(arguments.data.spread(arguments.radiographs)):
            sizes = range(arguments.superpixels, 0, -1)
            cut = (segment(image, count=count) for count in sizes)
            game = play(model, image, next(each for each in cut if each.count <= arguments.superpixels))
            yield game, exact_fits(game)

    def many() -> Iterator[tuple[Game, tuple[Floats, ...]]]:
        for image in inputs_of(arguments.data.spread(arguments.many)):
            game = Scored(model, image, segment(image))
            yield game, converged_fits(game, arguments.samples)

    if arguments.radiographs:
        compare(few(), steps, arguments.seeds, f"at most {arguments.superpixels} superpixels, exact")
    if arguments.many:
        held = f"about 30 superpixels, {arguments.samples:,} samples"
        compare(many(), [each for each in steps if each < 1000], min(2, arguments.seeds), held)


def _judged(estimate: Estimate, truth: Floats) -> list[float]:
    found = estimate.coefficients
    error = float(((found - truth) ** 2).sum() / (truth**2).sum())
    leaders = [{*np.argsort(-np.abs(each))[:TOP].tolist()} for each in (found, truth)]
    half = 1.96 * np.sqrt(estimate.variance)
    holding = np.nan if np.isnan(half).any() else float((np.abs(found - truth) <= half).mean())
    return [error, len(leaders[0] & leaders[1]) / TOP, holding]


if __name__ == "__main__":
    main()
