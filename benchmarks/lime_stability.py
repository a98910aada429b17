"""Is the stated stability honest? Twenty seeds on each radiograph: what a run states against what the runs share.

python benchmarks/lime_stability.py [--radiographs 10] [--seeds 20] [--stability 0.85] [--quick]
"""

import time
from itertools import combinations

import numpy as np

from common import engine, inputs_of, model_for, overlap, parser, pearson, table
from cxr_edge import LimeOptions


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 10, quick=1)
    options.number("--seeds", 20, quick=2)
    options.levels("--stability", [0.85])
    arguments = options.read()
    model = model_for(arguments)
    lime = engine(model)
    images = inputs_of(arguments.data.spread(arguments.radiographs))
    rows = []
    for stability in [None, *arguments.stability]:
        stated, observed, agreement, samples = [], [], [], []
        start = time.perf_counter()
        for image in images:
            runs = [
                lime.explain(image, "PNEUMONIA", LimeOptions(stability=stability, seed=seed))
                for seed in range(arguments.seeds)
            ]
            pairs = list(combinations([run.coefficients for run in runs], 2))
            stated.append(np.mean([run.stability for run in runs]))
            observed.append(np.mean([overlap(*pair) for pair in pairs]))
            agreement.append(np.mean([pearson(*pair) for pair in pairs]))
            samples.append(np.mean([run.estimate.samples for run in runs]))
        seconds = (time.perf_counter() - start) / len(images) / arguments.seeds
        margin = np.subtract(observed, stated)
        rows.append(
            [
                "default" if stability is None else stability,
                f"{np.mean(stated):.2f}",
                f"{np.mean(observed):.2f} ({min(observed):.2f} to {max(observed):.2f})",
                f"{(margin >= 0).sum()} of {len(images)} (worst {margin.min():+.2f})",
                f"{np.mean(agreement):.3f}",
                f"{np.mean(samples):.0f} ({max(samples):.0f})",
                f"{seconds:.2f}",
            ]
        )
    header = [
        "asked for",
        "stated",
        "observed top-5 overlap (range)",
        "radiographs not below the stated",
        "correlation between seeds",
        "samples (most)",
        "seconds",
    ]
    table(header, rows)
    print(f"{len(images)} test radiographs, {arguments.seeds} seeds, {arguments.threads} threads")


if __name__ == "__main__":
    main()
