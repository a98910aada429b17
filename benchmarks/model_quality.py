"""How good the networks of bundles are on the published test folder, how little they flip, and where they look.

python benchmarks/model_quality.py [--bundles NAME=FOLDER ...] prints one column per bundle.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model, load
from cxr_edge.images import read_radiograph
from cxr_edge.preprocess import to_input
from cxr_train.dataset import Images, find_samples, read_images, read_masks
from cxr_train.metrics import bootstrapped
from cxr_train.perturbations import PERTURBATIONS

ROOT = Path(__file__).parents[1]
Probabilities = NDArray[np.float64]


def probabilities(model: Model, images: NDArray[np.uint8]) -> Probabilities:
    """Calibrated probabilities float64 [N] of uint8 [N, H, W]."""
    rows = [
        prediction.probability
        for start in range(0, len(images), 16)
        for prediction in model.classifier.predict(images[start : start + 16].astype(np.float32))
    ]
    return np.array(rows)


def discrimination(model: Model, images: Images) -> Iterator[tuple[str, str]]:
    """The figures of merit at the shipped operating point, with patient-bootstrapped intervals."""
    answers = probabilities(model, images.pixels)
    estimates = bootstrapped(images.labels, answers, images.patients, model.classifier.threshold)
    for name, each in estimates.items():
        yield name, f"{each.value:.4f} ({each.low:.3f} to {each.high:.3f})"


def flips(model: Model, images: Images) -> Iterator[tuple[str, str]]:
    """Labels that a perturbation changes."""
    threshold = model.classifier.threshold
    before = probabilities(model, images.pixels) >= threshold
    for name, perturb in PERTURBATIONS.items():
        after = probabilities(model, np.stack([perturb(image) for image in images.pixels])) >= threshold
        yield f"labels flipped by {name}", f"{100 * (before != after).mean():.1f} %"


def evidence(model: Model, images: Images, masks: NDArray[np.uint8]) -> Iterator[tuple[str, str]]:
    """Share of Grad-CAM for the image's own class inside the lungs, and the share of the picture that the lungs are.

    A map of 7x7 cells drawn smoothly at 224x224 spills over every outline, so even one that knows the outline stays
    below 1: the bound is the share of the mask itself brought down to the map's cells and up again.
    """
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        shares, areas, bounds = [], [], []
        for image, mask in zip(images.pixels[images.labels == label], masks[images.labels == label], strict=True):
            known = mask != 127
            if not known.any():
                continue
            prediction = model.classifier.predict(image[None].astype(np.float32))[0]
            cam = model.explainer.gradcam.explain(prediction.features, name).raw
            lungs = mask == 255
            height, width = cam.shape
            cells = cv2.resize(lungs.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            for values, raw in ((shares, cam), (bounds, np.where(cells >= np.sort(cells.ravel())[-5], cells, 0))):
                smooth = cv2.resize(np.asarray(raw, np.float32), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
                total = float(smooth[known].sum())
                values.append(float(smooth[lungs].sum()) / total if total > 0 else np.nan)
            areas.append(float(lungs.sum() / known.sum()))
        yield (
            f"Grad-CAM inside the lungs, {name} (lungs' share of the picture · bound of the 5 fullest cells)",
            f"{np.nanmean(shares):.2f} ({np.mean(areas):.2f} · {np.mean(bounds):.2f})",
        )


def originals(model: Model, data: Path) -> Iterator[tuple[str, str]]:
    """Full-size originals against their 224-pixel copies."""
    same, gaps = 0, []
    files = sorted((data / "originals").glob("*/*"))
    for path in files:
        pair = [path, data / "kermany224" / "train" / path.parent.name / path.name]
        first, second = (model.classifier.predict(to_input(read_radiograph(each))[None])[0] for each in pair)
        same += first.label == second.label
        gaps.append(abs(first.probability - second.probability))
    yield "full-size originals called like their copies", f"{same} of {len(files)}"
    yield "median difference of the probability", f"{np.median(gaps):.4f}"


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bundles", nargs="*", default=["shipped="], help="NAME=FOLDER; no folder: the shipped one")
    options.add_argument("--split", default="test")
    options.add_argument(
        "--data", type=Path, default=Path(os.environ.get("CXR_EDGE_DATA", ROOT.parent / "shared" / "data"))
    )
    chosen = options.parse_args()
    images = read_images(find_samples(chosen.data / "kermany224", [chosen.split]))
    masks = read_masks(images.samples, chosen.data / "lungmasks224")
    columns = {}
    for each in chosen.bundles:
        name, _, folder = each.partition("=")
        model = load(Path(folder) if folder else None, provider="cpu")
        columns[name] = {
            "bundle": model.classifier.bundle.digest[:12],
            "threshold": f"{model.classifier.threshold:.4f} ({model.classifier.operating_point})",
            **dict(discrimination(model, images)),
            **dict(flips(model, images)),
            **dict(evidence(model, images, masks)),
            **dict(originals(model, chosen.data)),
        }
    print(f"{len(images.labels)} radiographs of {len(set(images.patients))} patients, split {chosen.split}\n")
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
