"""Which patients a network learned from and which were held out, stored beside it.

A split that is derived again from another folder than the first is another split: then the network is measured on
patients that it learned from. So the split is written once, and every later use looks patients up in it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_train.dataset import LABELS, Sample, count_samples, patient_of

SPLIT_FILE = "split.json"
HELD_OUT = 0.12
_SCHEMA = 1


@dataclass(frozen=True)
class Straddle:
    """Samples of a patient, or copies of an image, that are in the test folder and in another one.

    Attributes:
        reason: ``patient`` or ``digest``: what they have in common.
        key: The patient or the SHA-256 that they share.
        splits: The folders.
        dropped: The files outside the test folder.
    """

    reason: str
    key: str
    splits: tuple[str, ...]
    dropped: tuple[Path, ...]


@dataclass(frozen=True)
class Sides:
    """Samples by what a network knows of their patients.

    Attributes:
        learned: It learned from the patient, or from a copy of an image of this patient.
        held_out: The patient was held out.
        unknown: The patient is in neither list.
    """

    learned: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    unknown: tuple[Sample, ...]


@dataclass(frozen=True)
class Split:
    """The patients of a training.

    Patients are stored as the first 16 hexadecimal digits of the SHA-256 of their key, because a hospital's file name
    may carry a person's name and a bundle is handed on. That hides no name from someone who already has it.

    Attributes:
        seed: What chose the patients.
        learned: Those that the network learned from.
        held_out: Those that it did not.
    """

    seed: int
    learned: frozenset[str]
    held_out: frozenset[str]

    @classmethod
    def of(cls, samples: Sequence[Sample], *, seed: int, fraction: float = HELD_OUT) -> Split:
        """Holds out the same share of the patients of every family.

        Patients who share a copy of an image, directly or through others, stay together.

        Args:
            samples: Everything that may be learned from.
            seed: Decides who is held out.
            fraction: Share of the patients of each family.
        """

        def held_out(patients: list[str]) -> list[str]:
            return patients[: max(1, round(fraction * len(patients))) if len(patients) > 1 else 0]

        return cls._choosing(samples, held_out, seed=seed)

    @classmethod
    def fold(cls, samples: Sequence[Sample], number: int, of: int, *, seed: int) -> Split:
        """Holds out one of several equal parts of the patients of every family; each patient is in one part.

        Args:
            samples: Everything that may be learned from.
            number: Which part, from 1 on.
            of: How many parts there are.
            seed: Decides who is in which.
        """
        return cls._choosing(samples, lambda patients: patients[number - 1 :: of], seed=seed)

    @classmethod
    def _choosing(cls, samples: Sequence[Sample], held_out: Callable[[list[str]], list[str]], *, seed: int) -> Split:
        grouped = group_patients(samples)
        families: dict[str, set[str]] = defaultdict(set)
        for sample in grouped:
            families[f"{sample.label}-{sample.family}"].add(sample.patient)
        rng = np.random.default_rng(seed)
        chosen: set[str] = set()
        for family in sorted(families):
            chosen.update(held_out(rng.permutation(sorted(families[family])).tolist()))
        sides: tuple[set[str], set[str]] = (set(), set())
        for sample, group in zip(samples, grouped, strict=True):
            sides[group.patient in chosen].add(_digest(sample.patient))
        return cls(seed, frozenset(sides[0]), frozenset(sides[1]))

    @classmethod
    def read(cls, path: Path) -> Split:
        """Reads a ``split.json``.

        Raises:
            UsageError: It is damaged.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
            if (values["kind"], values["schema"]) != ("split", _SCHEMA):
                raise UsageError(
                    f"{path}: {values['kind']!r} of schema {values['schema']!r}, expected 'split' of {_SCHEMA}"
                )
            return cls(int(values["seed"]), frozenset(values["learned"]), frozenset(values["held_out"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: no split that can be read ({error!r}); restore the file") from error

    def to_json(self) -> dict[str, Any]:
        """The content of ``split.json``."""
        return {
            "schema": _SCHEMA,
            "kind": "split",
            "seed": self.seed,
            "learned": sorted(self.learned),
            "held_out": sorted(self.held_out),
        }

    def sides(self, samples: Sequence[Sample]) -> Sides:
        """Looks up the patients of samples.

        Patients who share a copy of an image count as one: if the network learned from one of them, it learned from
        all. In the samples returned, such patients have one common key.
        """
        grouped = group_patients(samples)
        known: dict[str, set[str]] = defaultdict(set)
        for sample, group in zip(samples, grouped, strict=True):
            known[group.patient].add(_digest(sample.patient))
        sides: dict[str, list[Sample]] = {"learned": [], "held_out": [], "unknown": []}
        for sample in grouped:
            keys = known[sample.patient]
            side = "learned" if keys & self.learned else "held_out" if keys & self.held_out else "unknown"
            sides[side].append(sample)
        return Sides(**{name: tuple(found) for name, found in sides.items()})


def group_patients(samples: Sequence[Sample]) -> list[Sample]:
    """Gives one key to all patients who share a copy of an image, directly or through others.

    The groups are the connected components of the graph whose edges join each patient with the contents of their files.

    Returns:
        The samples in their order; the key is that of the patient of a group who comes first.
    """
    if not samples:
        return []
    patients, rows = np.unique([sample.patient for sample in samples], return_inverse=True)
    contents, columns = np.unique([sample.digest for sample in samples], return_inverse=True)
    nodes = len(patients) + len(contents)
    edges = coo_array((np.ones(len(samples)), (rows, len(patients) + columns)), shape=(nodes, nodes))
    groups = connected_components(edges, directed=False)[1][rows]
    first: dict[int, str] = {}
    return [replace(s, patient=first.setdefault(int(g), s.patient)) for s, g in zip(samples, groups, strict=True)]


def without_straddlers(samples: Sequence[Sample]) -> tuple[list[Sample], list[Straddle]]:
    """Drops from train and val everyone who is in test too, by name or by a copy of an image.

    Train and val are pooled and split again by patient, so only the border to test can leak.

    Returns:
        The samples that stay, and a report of what was dropped.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, group_patients(samples), strict=True):
        groups[group.patient].append(sample)
    found = []
    for members in groups.values():
        inside, outside = ([s for s in members if (s.split == "test") == wanted] for wanted in (True, False))
        if inside and outside:
            shared = {s.patient for s in inside} & {s.patient for s in outside}
            copies = {s.digest for s in inside} & {s.digest for s in outside}
            reason, keys = ("patient", shared) if shared else ("digest", copies)
            splits = tuple(sorted({s.split for s in members}))
            found.append(Straddle(reason, min(keys), splits, tuple(s.path for s in outside)))
    lost = {path for each in found for path in each.dropped}
    return [sample for sample in samples if sample.path not in lost], found


def split_of_bundle(bundle: Bundle, samples: Sequence[Sample]) -> Split:
    """The split that a bundle stores; for a bundle of an earlier export, the one that its record fits.

    Raises:
        UsageError: The bundle stores none, and the folder is not the one that it was trained on.
    """
    stored = stored_split(bundle)
    return derive_split(bundle.manifest.training, samples, bundle.folder) if stored is None else stored


def stored_split(bundle: Bundle) -> Split | None:
    """The split that a bundle stores; None if it was exported before splits were stored."""
    return Split.read(bundle.path(SPLIT_FILE)) if SPLIT_FILE in bundle.manifest.files else None


def derive_split(record: Mapping[str, Any], samples: Sequence[Sample], owner: Path) -> Split:
    """Derives the split of a training that stored none, and checks it against what the training recorded.

    Args:
        record: The content of ``run.json``, with the seed and the images and patients on both sides.
        samples: The radiographs of the folder that it was trained on; those of the test folder are left aside.
        owner: The run or the bundle, for messages.

    Raises:
        UsageError: The record names no seed, or the numbers differ: the folder is another one.
    """
    seed, data = record.get("seed"), record.get("data", {})
    if not isinstance(seed, int) or not {"training", "validation"} <= data.keys():
        raise UsageError(f"{owner}: stores no split and names no seed, so who was held out is not known")
    pool = [sample for sample in without_straddlers(samples)[0] if sample.split != "test"]
    split = Split.of(pool, seed=seed)
    sides = split.sides([sample for sample in pool if sample.path.name not in data.get("unreadable", [])])
    for name, side in (("training", sides.learned), ("validation", sides.held_out)):
        found = count_samples(side)
        if any(found[key] != data[name].get(key) for key in (*LABELS, "patients")):
            raise UsageError(
                f"{owner}: stores no split, and this folder gives another one than its training had: {name} images"
                f" {dict(found)} instead of {data[name]}; point --data at the folder that it was trained on"
            )
    return split


def describe_misfit(split: Split, sides: Sides) -> Iterable[str]:
    """Says in sentences what of a folder does not fit a split."""
    if sides.unknown:
        names = [sample.path.name for sample in sides.unknown]
        listed = ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")
        yield f"{len(names)} radiographs are of patients whom the split does not know; left out: {listed}"
    present = {_digest(patient_of(sample.path.name)[0]) for sample in sides.held_out} & split.held_out
    if len(present) < len(split.held_out):
        yield f"the folder holds {len(present)} of the {len(split.held_out)} held-out patients"


def _digest(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()[:16]
