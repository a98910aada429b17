"""What the lung outline of a bundle costs, when it is doubted, and how often little evidence lies in the lungs.

python benchmarks/lungs.py [--others OUT] [--radiographs 60] [--rounds 60] [--quick]

Reads train and val alone: the outlines that people drew (what `cxr_edge.explanation.lungs` takes for plausible), and
radiographs of patients that neither network learned from. --others names the folder that benchmarks/other_images.py
wrote.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common import Image, alternate, inputs_of, model_for, parser, table
from cxr_edge import InputError, Model
from cxr_edge.explanation.lungs import measure_evidence
from cxr_train.dataset import LABELS, Sample, find_samples, read_images, read_masks
from cxr_train.metrics import dice
from cxr_train.split import split_of_bundle

PERCENTILES = (0, 1, 50, 99, 100)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--others", type=Path, nargs="*", default=[])
    options.number("--radiographs", 60, quick=1, help="of each class, for the shares")
    options.number("--rounds", 60, quick=1)
    arguments = options.read()
    model = model_for(arguments)
    samples = find_samples(arguments.data.radiographs)
    split = split_of_bundle(model.bundle, samples)
    samples = [sample for sample in samples if sample.split != "test"]
    held = samples if arguments.quick else split.sides(samples).held_out  # no sample of the repository was held out
    cost(model, arguments)
    drawn(read_masks(samples, arguments.data.masks))
    outlines(model, held, arguments.data.masks, arguments.others)
    shares(model, held, arguments.data.masks, arguments.radiographs)


def cost(model: Model, arguments: argparse.Namespace) -> None:
    """Milliseconds beside a prediction, and the size of the file."""
    image = inputs_of([next(iter(sorted((arguments.data.radiographs / "val" / "NORMAL").iterdir())))])[0]
    segmenter, spec = model.explainer.lungs, model.bundle.manifest.lungs
    assert segmenter is not None
    assert spec is not None
    competitors = {
        "predict": lambda: model.classifier.predict(image[None]),
        "outline the lungs": lambda: segmenter.outline(image),
    }
    alternate(competitors, 5)
    rows = [[name, f"{1e3 * each:.2f} ms"] for name, each in alternate(competitors, arguments.rounds).items()]
    table([f"warm, batch 1, {arguments.threads} threads", "median"], rows)
    print(f"{spec.file}: {model.bundle.manifest.files[spec.file].bytes / 1e6:.2f} MB\n")


def drawn(masks: NDArray[np.uint8]) -> None:
    """What people drew, as far as they left nothing open."""
    found = np.array([_parts(mask == 255) for mask in masks if (mask != 127).all()])
    names = ("lungs, of the picture", "smaller lung, of the picture", "smaller lung, of the larger one", "parts")
    rows = [
        [name, *(f"{value:.3f}" for value in np.percentile(column, PERCENTILES))]
        for name, column in zip(names, found.T, strict=True)
    ]
    table([f"{len(found)} outlines that people drew", *(f"{each} %" for each in PERCENTILES)], rows)


def _parts(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = sorted(stats[1:, cv2.CC_STAT_AREA] / mask.size, reverse=True)
    smaller = areas[1] if len(areas) > 1 else 0.0
    return float(mask.mean()), smaller, smaller / max(areas[0], 1e-9) if areas else 0.0, len(areas)


def outlines(model: Model, held: Sequence[Sample], masks: Path, others: list[Path]) -> None:
    """Dice and doubts on radiographs of held-out patients, doubts on what are no radiographs."""
    images = read_images(held)
    rows = []
    for label, name in enumerate(LABELS):
        chosen = images.labels == label
        known = read_masks([each for each in images.samples if each.label == label], masks)
        rows.append([f"held out, {name}", *_outlined(model, images.pixels[chosen].astype(np.float32), known)])
    for folder in others:
        kinds = sorted(path for path in folder.iterdir() if path.is_dir())
        rows.extend([f"other: {kind.name}", *_outlined(model, list(_readable(kind)), None)] for kind in kinds)
    table(["pictures", "number", "no pair of lungs found", "mean Dice", "Dice below 0.85"], rows)


def _readable(folder: Path) -> Iterator[Image]:
    for path in sorted(folder.iterdir()):
        try:
            yield inputs_of([path])[0]
        except InputError:
            continue


def _outlined(model: Model, inputs: list[Image] | Image, masks: NDArray[np.uint8] | None) -> list[object]:
    segmenter = model.explainer.lungs
    assert segmenter is not None
    found = [segmenter.outline(image) for image in inputs]
    doubted = sum(each.implausible is not None for each in found)
    if masks is None:
        return [len(found), doubted, "", ""]
    values = dice(np.stack([each.mask for each in found]), masks)
    return [len(found), doubted, f"{np.nanmean(values):.4f}", int((values < 0.85).sum())]


def shares(model: Model, held: Sequence[Sample], masks: Path, count: int) -> None:
    """How much evidence for the label that was given lies in the lungs, and how often that is called little."""
    rows = []
    for label, name in enumerate(LABELS):
        of_class = [each for each in held if each.label == label]
        chosen = [of_class[row] for row in np.linspace(0, len(of_class) - 1, count).round().astype(int)]
        found = [_shares(model, sample, read_masks([sample], masks)[0] == 255) for sample in chosen]
        table_of = np.array([each[:6] for each in found], float)
        warned = [each[6] for each in found]
        rows.append([name, len(found), *(f"{value:.3f}" for value in np.nanmean(table_of, 0)), sum(warned)])
    header = ["class", "number", "lungs", "Grad-CAM", "LIME", "by human outlines: lungs", "Grad-CAM", "LIME", "warned"]
    table(header, rows)


def _shares(model: Model, sample: Sample, mask: NDArray[np.bool_]) -> tuple[float | None, ...]:
    explanation = model.explain(sample.path)
    evidence, saliency, lime = explanation.evidence, explanation.saliency, explanation.lime
    assert evidence is not None
    assert saliency is not None
    assert lime is not None
    human = measure_evidence(type(evidence.outline)(mask, None), evidence.target, saliency, lime)
    own = (evidence.lungs_share, evidence.saliency, evidence.lime)
    return (*own, human.lungs_share, human.saliency, human.lime, float(bool(evidence.warnings)))


if __name__ == "__main__":
    main()
