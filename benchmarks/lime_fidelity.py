"""Time to fidelity: the fast mode against `lime` at its default of 1000 samples, on the same superpixels.

    python benchmarks/lime_fidelity.py [--radiographs 12] [--converged 16384] [--cache DIR] [--quick]

Each is held to its own converged explanation (many independent samples, another seed, LIME's own kernel): of the
probability for `lime`, of the log-odds for the fast mode. What the reference mode computes is what `lime` computes
(tests/edge/test_lime_reference.py), so it stands in for it, except for the timing. Converging takes about two minutes
a radiograph; the scores are kept in --cache.
"""

import hashlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import (
    alternate,
    engine,
    inputs_of,
    model_for,
    overlap,
    package_lime,
    parser,
    pearson,
    probability_of,
    table,
)
from cxr_edge import LimeOptions, Model
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.lime.perturbations import Masks, Perturber, fit_ridge, independent
from cxr_edge.explanation.superpixels import Superpixels, segment

CONVERGED_SEED = 987654
PACKAGE = "`lime`, probability"


def scores(model: Model, image: NDArray[np.float32], regions: Superpixels, masks: Masks) -> NDArray[np.float64]:
    """Log-odds of perturbations."""
    found = np.empty(len(masks))
    for part, inputs in Perturber(image, regions).batches(masks):
        found[part] = model.classifier.logodds(inputs)
    return found


def converged(
    model: Model, image: NDArray[np.float32], regions: Superpixels, samples: int, cache: Path
) -> tuple[Masks, NDArray[np.float64]]:
    """Independent perturbations with their log-odds, computed once."""
    masks = independent(regions.count, samples, np.random.RandomState(CONVERGED_SEED))
    digest = hashlib.sha256(image.tobytes() + regions.labels.tobytes()).hexdigest()[:16]
    file = cache / f"{model.bundle.digest[:12]}-{digest}-{samples}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, scores(model, image, regions, masks))
    return masks, np.load(file)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 12, quick=1)
    options.number("--seeds", 4, quick=2, help="runs of each mode")
    options.number("--samples", 1000, quick=64, help="of `lime`")
    options.number("--converged", 16384, quick=128)
    options.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "cxr-edge-benchmarks")
    options.levels("--stability", [0.85])
    options.number("--timed", 2, quick=1, help="about how many radiographs `lime` itself is timed on")
    arguments = options.read()
    model = model_for(arguments)
    lime = engine(model)
    calibration = model.bundle.manifest.calibration

    def probability(logodds: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-(calibration.scale * logodds + calibration.bias)))

    images = inputs_of(arguments.data.spread(arguments.radiographs))
    runs: dict[str, list[list[float]]] = {}
    for number, image in enumerate(images):
        regions = segment(image)
        masks, logodds = converged(model, image, regions, arguments.converged, arguments.cache)
        goals = {
            "probability": fit_ridge(masks, probability(logodds)).coefficients,
            "log-odds": fit_ridge(masks, logodds).coefficients,
        }
        package = []
        for seed in (1, 2):
            random = np.random.RandomState(seed)
            random.randint(0, high=1000)
            few = independent(regions.count, arguments.samples, random)
            package.append(fit_ridge(few, probability(scores(model, image, regions, few))).coefficients)
        _add(runs, PACKAGE, package, goals["probability"], [arguments.samples], [np.nan])
        for stability in [None, *arguments.stability]:
            fast = [
                lime.explain(image, "PNEUMONIA", LimeOptions(stability=stability, seed=seed))
                for seed in range(1, arguments.seeds + 1)
            ]
            inside = [
                np.mean((each.intervals[:, 0] <= goals["log-odds"]) & (goals["log-odds"] <= each.intervals[:, 1]))
                for each in fast
            ]
            _add(
                runs,
                _named(stability),
                [each.coefficients for each in fast],
                goals["log-odds"],
                [each.estimate.samples for each in fast],
                inside,
            )
        print(f"radiograph {number + 1} of {len(images)} done", flush=True)

    seconds: dict[str, list[float]] = {}
    for number, image in enumerate(images):
        competitors = _competitors(model, lime, image, [None, *arguments.stability], arguments.samples)
        if number % max(1, len(images) // arguments.timed):
            del competitors[PACKAGE]  # whose time does not depend on the radiograph
        for name, value in alternate(competitors, 1).items():
            seconds.setdefault(name, []).append(value)

    base = np.mean(seconds[PACKAGE])
    rows = []
    for name, values in runs.items():
        mean = np.mean(values, axis=0)
        lowest = np.min([row[0] for row in values])
        rows.append(
            [
                name,
                f"{mean[3]:.0f}",
                f"{mean[0]:.3f} ({lowest:.2f})",
                f"{mean[1]:.3f}",
                f"{mean[2]:.2f}",
                "" if np.isnan(mean[4]) else f"{mean[4]:.0%}",
                f"{np.mean(seconds[name]):.2f}",
                f"1/{base / np.mean(seconds[name]):.1f}",
            ]
        )
    header = [
        "method",
        "samples",
        "correlation to converged (worst)",
        "correlation between seeds",
        "top-5 overlap between seeds",
        "intervals that hold the converged value",
        "seconds",
        "of `lime` + ONNX Runtime",
    ]
    table(header, rows)
    print(f"{len(images)} test radiographs, converged on {arguments.converged} samples, {arguments.threads} threads")


def _competitors(
    model: Model, lime: Lime, image: NDArray[np.float32], levels: list[float | None], samples: int
) -> dict[str, Callable[[], object]]:
    regions, network = segment(image), probability_of(model)

    def fast(level: float | None) -> Callable[[], object]:
        return lambda: lime.explain(image, "PNEUMONIA", LimeOptions(stability=level))

    package = {PACKAGE: lambda: package_lime(network, image, regions, seed=1, samples=samples)}
    return package | {_named(level): fast(level) for level in levels}


def _named(stability: float | None) -> str:
    return "fast, default" if stability is None else f"fast, stability {stability}"


def _add(
    runs: dict[str, list[list[float]]],
    name: str,
    found: list[NDArray[np.float64]],
    goal: NDArray[np.float64],
    samples: list[int],
    inside: list[float],
) -> None:
    pairs = list(combinations(found, 2))
    runs.setdefault(name, []).append(
        [
            float(np.mean([pearson(each, goal) for each in found])),
            float(np.mean([pearson(one, other) for one, other in pairs])),
            float(np.mean([overlap(one, other) for one, other in pairs])),
            float(np.mean(samples)),
            float(np.mean(inside)),
        ]
    )


if __name__ == "__main__":
    main()
