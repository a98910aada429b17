"""How often a warning is right: false alarms of the exposure warnings, accuracy where test-time augmentation warns.

python benchmarks/warning_rates.py [--split test] [--step N] [--quick] prints both, with what test-time augmentation
costs. Exposure is judged on train, where its limits come from, and on the split; accuracy on the split alone.
"""

from pathlib import Path

import cv2
import numpy as np

from common import alternate, model_for, parser, share, table
from cxr_edge import Model, read_radiograph
from cxr_edge.reading.radiograph import exposure_warnings, looks


def exposure(files: list[Path]) -> list[object]:
    """Count pictures that are warned about, and inverted ones that are seen to be."""
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    alarms = sum(bool(exposure_warnings(picture, 255)) for picture in pictures)
    found = sum(looks(255 - picture, 255) == "inverted" for picture in pictures)
    return [len(files), alarms, found]


def worth(model: Model, files: list[Path]) -> list[list[object]]:
    """Count right labels among those that every small change leaves, and among the others."""
    answers = [model.predict(path) for path in files]
    right = np.array([answer.label == path.parent.name for answer, path in zip(answers, files, strict=True)])
    firm = np.array([not answer.spread.label_changed_by for answer in answers])
    width = np.array([answer.spread.highest - answer.spread.lowest for answer in answers])
    return [
        [name, kept.sum(), share(int(right[kept].sum()), int(kept.sum())), f"{np.median(width[kept]):.4f}"]
        for name, kept in (("label stands", firm), ("label turns", ~firm))
        if kept.any()
    ]


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--split", default="test")
    options.add_argument("--step", type=int, default=1, help="take every so manieth radiograph")
    options.number("--rounds", 20, quick=1)
    chosen = options.read()
    splits = {name: chosen.data.split(name)[:: chosen.step] for name in dict.fromkeys(("train", chosen.split))}
    rows = [[name, *exposure(files)] for name, files in splits.items()]
    table(["split", "radiographs", "warned about", "seen as inverted when they are"], rows)

    model = model_for(chosen)
    augmented = model_for(chosen, test_time_augmentation=True)
    table(["--tta", "radiographs", "accuracy", "median width"], worth(augmented, splits[chosen.split]))

    one = read_radiograph(splits[chosen.split][0])
    seconds = alternate({"plain": lambda: model.predict(one), "tta": lambda: augmented.predict(one)}, chosen.rounds)
    print(
        f"One answer: {1e3 * seconds['plain']:.1f} ms, with --tta {seconds['tta'] / seconds['plain']:.1f} times that."
    )


if __name__ == "__main__":
    main()
