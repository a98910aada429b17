"""Full-size originals against the copies of them in the data folder: does the size of the file change the answer?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_train.audit.answers import answer
from cxr_train.audit.setting import Setting
from cxr_train.dataset import LABELS, SPLITS, SUFFIXES


@dataclass(frozen=True)
class Originals:
    """The answers to originals beside those to their copies.

    Attributes:
        pairs: How many.
        same: How many get the same label at the shipped operating point.
        median: Median absolute difference of the probability.
        largest: The largest.
        moved: Mean absolute difference of the log-odds.
        refused: How many of the originals the gate refuses; None without a gate.
    """

    pairs: int
    same: int
    median: float
    largest: float
    moved: float
    refused: int | None

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return vars(self)


def pair_up(originals: Path, data: Path) -> list[tuple[Path, Path]]:
    """Finds the copy ``data/<split>/<label>/<name>`` of each ``originals/<label>/<name>``.

    Raises:
        UsageError: No original has a copy.
    """
    pairs = []
    for label in LABELS:
        folder = originals / label
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            copies = [data / split / label / path.name for split in SPLITS]
            copy = next((each for each in copies if each.is_file()), None)
            if path.suffix.lower() in SUFFIXES and copy is not None:
                pairs.append((path, copy))
    if not pairs:
        raise UsageError(
            f"{originals}: no file has a copy of the same name in {data}; expected {{{'|'.join(LABELS)}}}/<name> in it"
        )
    return pairs


def compare_originals(setting: Setting, pairs: list[tuple[Path, Path]]) -> Originals:
    """Asks the bundle about both of each pair."""
    spec = setting.model.bundle.manifest.input
    full, copies = (
        answer(
            setting.model,
            np.stack([to_input(read_radiograph(path), height=spec.height, width=spec.width) for path in paths]),
        )
        for paths in zip(*pairs, strict=True)
    )
    gap = np.abs(full.probability - copies.probability)
    same = (full.probability >= setting.threshold) == (copies.probability >= setting.threshold)
    return Originals(
        pairs=len(pairs),
        same=int(same.sum()),
        median=float(np.median(gap)),
        largest=float(gap.max()),
        moved=float(np.abs(full.logodds - copies.logodds).mean()),
        refused=None if full.refused is None else int(full.refused.sum()),
    )
