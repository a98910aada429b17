"""Holes in compressed pixels, end markers intact: how many files are answered without an error or a warning?

python benchmarks/damaged_pixels.py --files 500
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from common import ROOT, table
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph

sys.path.insert(0, str(ROOT / "tests"))
from damage import Compressed, compressed

RADIOGRAPHS = ROOT / "tests" / "data"


def main() -> None:
    """Build the files, read them, print what became of them; exit with 1 where one was answered without a word."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", type=int, default=500)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--fill", type=int, default=0, help="the byte in the holes")
    options.add_argument("--data", type=Path, default=RADIOGRAPHS, help="folder of JPEG and PNG files")
    options.add_argument("--quick", action="store_true", help="50 files")
    asked = options.parse_args()
    random = np.random.default_rng(asked.seed)
    paths = sorted(path for path in asked.data.rglob("*.*") if path.suffix in {".jpeg", ".png"})
    paths = [path for path in paths if "lungmasks" not in path.parts]  # masks are no radiographs
    outcomes: dict[str, Counter[str]] = {}
    wanted = 50 if asked.quick else asked.files
    while sum(counts.total() for counts in outcomes.values()) < wanted:
        for file in compressed(_pixels(paths[random.integers(len(paths))], deep=bool(random.integers(2)))):
            if outcome := _outcome(file, random, asked.fill):
                outcomes.setdefault(file.kind, Counter())[outcome] += 1
    names = ("error", "warning", "silent")
    rows = [(kind, counts.total(), *(counts[name] for name in names)) for kind, counts in outcomes.items()]
    together: Counter[str] = sum(outcomes.values(), Counter())
    table(("compression", "files", *names), [*rows, ("all", together.total(), *(together[name] for name in names))])
    sys.exit(together["silent"] > 0)


def _pixels(path: Path, *, deep: bool) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return pixels.astype(np.uint16) * 16 + 7 if deep else pixels


def _outcome(file: Compressed, random: np.random.Generator, fill: int) -> str | None:
    """Say what becomes of a file with a hole in it; None where the hole changes nothing."""
    whole = read_radiograph(file.data)
    try:
        read = read_radiograph(file.with_hole(random, fill=fill))
    except InputError:
        return "error"
    if any("damage" in warning for warning in read.warnings):
        return "warning"
    return None if np.array_equal(read.pixels, whole.pixels) else "silent"


if __name__ == "__main__":
    main()
