"""What the gate refuses of radiographs and of other pictures, and whether full-size originals are answered alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.api import Model
from cxr_edge.errors import InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_train.audit.answers import Answers, Setting, answer
from cxr_train.dataset import LABELS, SPLITS, SUFFIXES
from cxr_train.metrics import proportion

_SURE = 0.9


@dataclass(frozen=True)
class Refusals:
    """One kind of pictures at the gate.

    Attributes:
        kind: What they are.
        pictures: How many were decoded.
        unreadable: How many more were not, and so got no answer either.
        refused: How many of the decoded ones the gate refuses; None where the bundle has no gate.
        sure: How many the network, asked without a gate, gives a probability above 0.9.
    """

    kind: str
    pictures: int
    unreadable: int
    refused: int | None
    sure: int

    def to_json(self) -> dict[str, Any]:
        """All of it by name, with the share that is refused; these pictures belong to no patient."""
        known = self.refused is not None and self.pictures
        return {**vars(self), "share": proportion(self.refused or 0, self.pictures).to_json() if known else None}


@dataclass(frozen=True)
class GateReport:
    """The gate of a bundle.

    Attributes:
        threshold: The largest score that is answered; None where the bundle has no gate.
        method: How the score comes about; None where the bundle has no gate.
        radiographs: By class, what it does to the radiographs.
        others: By kind, what it does to other pictures; empty where none were given.
        scores: The gate's scores, of ``radiographs`` and of ``others``.
    """

    threshold: float | None
    method: str | None
    radiographs: tuple[Refusals, ...]
    others: tuple[Refusals, ...]
    scores: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """All of it by name, with a line over all radiographs and one over all others."""
        return {
            "threshold": self.threshold,
            "method": self.method,
            "radiographs": [each.to_json() for each in self.radiographs],
            "others": [each.to_json() for each in self.others],
            "all_radiographs": _total("all radiographs", self.radiographs).to_json(),
            "all_others": _total("all other pictures", self.others).to_json() if self.others else None,
            "scores": self.scores,
        }


def check_others(folder: Path) -> list[Path]:
    """Lists the kinds in a folder of other pictures, sorted.

    Raises:
        UsageError: There are none.
    """
    kinds = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not kinds:
        raise UsageError(f"{folder}: expected one folder of pictures for each kind in it, as others/photographs/*.png")
    return kinds


def refusals(setting: Setting, others: Path | None) -> GateReport:
    """Counts what the gate refuses.

    Args:
        setting: What is audited.
        others: Folder with one folder of pictures for each kind; None without.
    """
    gate = setting.model.bundle.manifest.gate
    own = tuple(_counted(name, setting.answers[rows], 0) for name, rows in setting.classes.items())
    kinds, strange = [], []
    for folder in check_others(others) if others is not None else ():
        answers, unreadable = _read(setting.model, folder)
        kinds.append(_counted(folder.name, answers, unreadable))
        strange.append(answers)
    scores = {
        "radiographs": _scores([setting.answers]),
        "others": _scores(strange),
    }
    threshold, method = (None, None) if gate is None else (gate.threshold, gate.method)
    return GateReport(threshold, method, own, tuple(kinds), scores)


def _read(model: Model, folder: Path) -> tuple[Answers, int]:
    spec, inputs, unreadable = model.bundle.manifest.input, [], 0
    for found in Discovery((folder,), ordered=True).find():
        try:
            if isinstance(found, InputError):
                raise found
            inputs.append(to_input(read_radiograph(found), height=spec.height, width=spec.width))
        except InputError:
            unreadable += 1
    shape = (0, spec.height, spec.width)
    return answer(model, np.stack(inputs) if inputs else np.zeros(shape, np.float32)), unreadable


def _counted(kind: str, answers: Answers, unreadable: int) -> Refusals:
    refused = None if answers.refused is None else int(answers.refused.sum())
    return Refusals(kind, len(answers.probability), unreadable, refused, int((answers.probability > _SURE).sum()))


def _total(kind: str, parts: tuple[Refusals, ...]) -> Refusals:
    refused = [part.refused for part in parts if part.refused is not None]
    return Refusals(
        kind,
        sum(part.pictures for part in parts),
        sum(part.unreadable for part in parts),
        sum(refused) if refused else None,
        sum(part.sure for part in parts),
    )


def _scores(answers: list[Answers]) -> list[float]:
    return [float(score) for each in answers if each.gate is not None for score in each.gate]


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
    same = setting.rank(full.probability) == setting.rank(copies.probability)
    return Originals(
        pairs=len(pairs),
        same=int(same.sum()),
        median=float(np.median(gap)),
        largest=float(gap.max()),
        moved=float(np.abs(full.logodds - copies.logodds).mean()),
        refused=None if full.refused is None else int(full.refused.sum()),
    )
