"""Radiographs of a data folder as the network takes them, for parity, golden answers and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.formats import SUFFIXES

LABELS = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Preprocessed radiographs with their labels.

    Attributes:
        pixels: float32 [N, height, width] in 0..255.
        labels: int64 [N], 0 for NORMAL, 1 for PNEUMONIA.
        names: The N files' names.
        unreadable: How many files were left out.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    unreadable: int


def read_split(data: Path, split: str, *, size: tuple[int, int], count: int | None = None) -> Radiographs:
    """Reads ``data/<split>/<label>``: all of it, or evenly spaced files, as many of each label where there are enough.

    Args:
        data: The Kaggle folder.
        split: ``train``, ``val`` or ``test``.
        size: Height and width of the network's input.
        count: How many at most; None for all.

    Raises:
        UsageError: The folder is not laid out so, or none of its files can be read.
    """
    files = [(path, label) for label, name in enumerate(LABELS) for path in _files(data / split / name)]
    if not files:
        raise UsageError(
            f"{data}: no radiographs in {split}/NORMAL or {split}/PNEUMONIA; "
            "point --data at the unpacked Kaggle folder (train|val|test / NORMAL|PNEUMONIA)"
        )
    if count is not None:
        files = _spread(files, count)
    pixels, labels, names = [], [], []
    for path, label in files:
        try:
            pixels.append(to_input(read_radiograph(path), height=size[0], width=size[1]))
            labels.append(label)
            names.append(path.name)
        except InputError:
            continue
    if not pixels:
        raise UsageError(f"{data / split}: none of {len(files)} files is a readable radiograph")
    return Radiographs(np.stack(pixels), np.array(labels), tuple(names), len(files) - len(pixels))


def noise(count: int, *, size: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    """White noise in whole grey levels, float32 [count, height, width] in 0..255."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size)).astype(np.float32)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def _spread(files: list[tuple[Path, int]], count: int) -> list[tuple[Path, int]]:
    by_label = [[entry for entry in files if entry[1] == label] for label in (0, 1)]
    # A label with fewer files than its half leaves the rest to the other.
    first = max(min(len(by_label[0]), count // 2), count - len(by_label[1]))
    out = []
    for entries, wanted in zip(by_label, (first, count - first), strict=True):
        rows = np.linspace(0, len(entries) - 1, min(wanted, len(entries))).astype(int)
        out += [entries[row] for row in rows]
    return out
