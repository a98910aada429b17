"""What the gate of a bundle refuses, kind by kind, and what it costs.

python benchmarks/other_images.py OUT; python benchmarks/gate.py --others OUT [MORE ...] prints the share refused of
every OUT/<kind>, of the radiographs of the test folder as they are and perturbed, of full-size originals, of adults,
and the time of a prediction with the gate over that without. Precision fp32 unless --precision says otherwise;
--quick takes the samples of the repository. Intervals are 95 %, by Wilson.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from common import SAMPLES, Data, Image, alternate, inputs_of, model_for, parser, share
from cxr_edge import InputError, Model
from cxr_edge.results.outcomes import refuse
from cxr_train.perturbations import PERTURBATIONS

Judged = tuple[float, bool]
Row = tuple[str, list[Judged]]


def scores(model: Model, inputs: Iterable[Image]) -> list[Judged]:
    """How unlike chest radiographs they are, and whether they get no label for that or for where they come from."""
    spec = model.bundle.manifest.gate
    assert spec is not None
    found = []
    for image in inputs:
        for each in model.classifier.predict(image[None]):
            score = float("nan") if each.gate_score is None else each.gate_score
            found.append((score, refuse(spec, score, each.scope_score) is not None))
    return found


def others(model: Model, folders: list[Path]) -> Iterator[Row]:
    """Pictures that are to be refused; what cannot be read is an error already, and not counted."""
    for folder in folders:
        for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
            images = []
            for path in sorted(kind.iterdir()):
                try:
                    images += inputs_of([path])
                except InputError:
                    continue
            yield f"{folder.name}: {kind.name}", scores(model, images)


def chests(model: Model, data: Data, every: int) -> Iterator[Row]:
    """Chest radiographs that are to be answered, and two rows of such that are not as they should be."""
    images = inputs_of(data.split("test"))
    yield "test radiographs", scores(model, images)
    levels = [np.rint(image).astype(np.uint8) for image in images[::every]]
    for name, perturb in PERTURBATIONS.items():
        yield f"test radiographs, {name}", scores(model, (perturb(image).astype(np.float32) for image in levels))
    yield "full-size originals", scores(model, inputs_of(sorted(data.originals.rglob("*.jp*g"))))
    adults = [SAMPLES / "radiographs" / "nih_dx_chest.dcm", SAMPLES / "dicom" / "cr_chest_pa_jpeg2000.dcm"]
    yield "adults", scores(model, inputs_of(adults))
    turned = [np.ascontiguousarray(np.rot90(image, turns)) for image in images[::every] for turns in (1, 2, 3)]
    yield "turned by 90, 180 and 270 degrees", scores(model, turned)
    yield "inverted", scores(model, (255 - image for image in images[::every]))


def show(rows: Iterable[Row], threshold: float) -> list[Judged]:
    """Prints the rows and gives all that is in them."""
    every = []
    print("| inputs | number | refused | nearest and farthest score, over the threshold |\n|---|---|---|---|")
    for name, values in rows:
        every += values
        refused = sum(gone for _, gone in values)
        relative = np.array([score for score, _ in values]) / threshold
        print(
            f"| {name} | {len(values)} | {share(refused, len(values))} "
            f"| {np.nanmin(relative):.2f} to {np.nanmax(relative):.2f} |"
        )
    return every


def cost(gated: Model, open_gate: Model, image: Image, rounds: int) -> float:
    """Time of a prediction with the gate over that without."""

    def predict(model: Model) -> Callable[[], object]:
        return lambda: model.classifier.predict(image[None])

    seconds = alternate({"with": predict(gated), "without": predict(open_gate)}, rounds)
    return seconds["with"] / seconds["without"]


def main() -> None:
    """Prints the tables."""
    options = parser(__doc__)
    options.add_argument("--others", type=Path, nargs="*", default=[], help="folders of folders of other pictures")
    options.add_argument("--precision", default="fp32")
    options.number("--every", 1, quick=4, help="perturb every n-th test radiograph only")
    options.number("--rounds", 300, quick=2, help="of the timing; 0 leaves it out")
    chosen = options.read()
    gated, ungated = (model_for(chosen, precision=chosen.precision, gate=gate) for gate in (True, False))
    spec = gated.bundle.manifest.gate
    if spec is None:
        raise SystemExit(f"{gated.bundle.folder}: the bundle has no gate; add one with cxr-export gate")
    print(f"{gated.bundle.digest[:12]}, {chosen.precision}, threshold {spec.threshold:.4f}\n")
    if chosen.others:
        found = show(others(gated, chosen.others), spec.threshold)
        refused = sum(gone for _, gone in found)
        print(f"\nAll {len(found)} of them: {share(refused, len(found))} refused.\n")
    show(chests(gated, chosen.data, chosen.every), spec.threshold)
    if chosen.rounds:
        (image,) = inputs_of(chosen.data.spread(1))
        print(f"\nPredict with the gate: {cost(gated, ungated, image, chosen.rounds):.3f} times without.")


if __name__ == "__main__":
    main()
