"""What a hospital gains by adapting the bundle with some of its own radiographs, measured on its other patients.

    python benchmarks/adapt.py [--own DIR] [--draws 40] [--quick]

The published test folder is such a hospital: its NORMAL radiographs are not like those of the training folder. Patients
are drawn at random until there are 50, 100 and 200 radiographs; calibration, thresholds and scope are chosen on them,
and both bundles answer everybody else. Means over the draws, with the range that 95 % of the draws lie in. What ranks
the radiographs is the same network before and after: the area under the curve stays.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from common import parser, table
from cxr_edge.bundle.bundle import Bundle
from cxr_export.adapt import Choice, Scored, as_it_is, ask, figures_of

SIZES = (50, 100, 200)
SHARES = ("recall", "specificity", "missed", "false_alarms", "unsure", "refused")
NUMBERS = ("ece", "log_loss")


def draw(own: Scored, size: int, rng: np.random.Generator) -> np.ndarray:
    """Which radiographs are those of patients drawn until there are ``size``: bool [N]."""
    patients = np.array(own.patients)
    order = rng.permutation(np.unique(patients))
    counts = np.cumsum([(patients == patient).sum() for patient in order])
    return np.isin(patients, order[: 1 + int(np.searchsorted(counts, size))])


def measure(bundle: Bundle, own: Scored, size: int, draws: int) -> dict[str, list[tuple[float, float]]]:
    """Each figure before and after, one pair a draw."""
    found = defaultdict(list)
    for seed in range(draws):
        chosen_on = draw(own, size, np.random.default_rng(seed))
        others = own.part(np.flatnonzero(~chosen_on))
        after = Choice.of(bundle, own.part(np.flatnonzero(chosen_on))).judge(others)
        pair = [figures_of(each, others) for each in (as_it_is(bundle, others), after)]
        for name in SHARES:
            found[name].append((pair[0][name]["value"], pair[1][name]["value"]))
        for name in NUMBERS:
            found[name].append((pair[0][name], pair[1][name]))
    return found


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--own", type=Path, default=None, help="NORMAL and PNEUMONIA folders, else the test folder")
    options.number("--draws", 40, quick=2)
    arguments = options.read()
    folder = arguments.own or arguments.data.radiographs / "test"
    own, bundle = ask(None, folder, ("NORMAL", "PNEUMONIA")), Bundle.open(None)
    sizes = SIZES if len(own.labels) > SIZES[-1] + 20 else (len(own.labels) // 2,)
    print(f"{len(own.labels)} radiographs of {len(set(own.patients))} patients")
    rows = []
    for size in sizes:
        for name, pairs in measure(bundle, own, size, arguments.draws).items():
            before, after = np.array(pairs).T
            low, high = np.percentile(after - before, (2.5, 97.5))
            gain = f"{(after - before).mean():+.3f} ({low:+.3f} to {high:+.3f})"
            rows.append([str(size), name, f"{before.mean():.3f}", f"{after.mean():.3f}", gain])
    table(["radiographs", "figure on the others", "as it is", "adapted", "difference"], rows)


if __name__ == "__main__":
    main()
