"""The folder of radiographs: what is in it, who is in it, and what must not straddle its splits."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph

LABELS = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")
SUFFIXES = {".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".dcm"}

# File names of the Kermany set carry the child's number, which restarts per kind of pneumonia.
_PATIENT = re.compile(r"(?P<person>person\d+_(?P<kind>bacteria|virus))|(?P<normal>(?P<series>(?:NORMAL2-)?IM)-\d+)")


@dataclass(frozen=True)
class Sample:
    """One labelled file.

    Attributes:
        path: Where it lies.
        label: 0 for NORMAL, 1 for PNEUMONIA.
        split: The published split it was found in.
        patient: Files with the same value show the same child; the file's stem where the name says nothing.
        family: ``bacteria``, ``virus``, ``IM``, ``NORMAL2-IM`` or ``other``: how the file was named.
        digest: SHA-256 of the bytes, so that copies under two names are found.
    """

    path: Path
    label: int
    split: str
    patient: str
    family: str
    digest: str


@dataclass(frozen=True)
class Straddle:
    """Samples that occur in more than one published split: by patient or by content."""

    reason: str
    key: str
    splits: tuple[str, ...]
    dropped: tuple[Path, ...]


@dataclass(frozen=True)
class Images:
    """Decoded samples.

    Attributes:
        samples: One per image, in the order of the arrays.
        pixels: uint8 [N, H, W]: the network's input rounded to whole grey levels, to fit in memory.
        unreadable: The files that were left out, with the reason.
        sizes: int32 [N, 2]: height and width of each file before it was resized.
    """

    samples: tuple[Sample, ...]
    pixels: NDArray[np.uint8]
    unreadable: tuple[tuple[Path, str], ...]
    sizes: NDArray[np.int32]

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32 [N], 0 or 1."""
        return np.array([sample.label for sample in self.samples], np.int32)

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [sample.patient for sample in self.samples]


def patient_of(name: str) -> tuple[str, str]:
    """The patient key and the family that a file name of the Kermany set carries."""
    match = _PATIENT.match(name)
    if match is None:
        return Path(name).stem, "other"
    if match["person"]:
        return match["person"], match["kind"]
    return match["normal"], match["series"]


def find_samples(data: Path, splits: Sequence[str] = SPLITS) -> list[Sample]:
    """Lists the images of ``data/<split>/<label>``, sorted by path.

    Raises:
        UsageError: The folder is not laid out as the Kaggle download is, or a class is empty.
    """
    layout = f"expected {{{'|'.join(splits)}}}/{{{'|'.join(LABELS)}}} in it: point --data at the unpacked Kaggle folder"
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; {layout}")
    samples = []
    for split in splits:
        for label, name in enumerate(LABELS):
            folder = data / split / name
            if not folder.is_dir():
                raise UsageError(f"{data}: has no folder {split}/{name}; {layout}")
            files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not files:
                raise UsageError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))}); each class needs some")
            for path in files:
                patient, family = patient_of(path.name)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                samples.append(Sample(path, label, split, patient, family, digest))
    return samples


def without_straddlers(samples: Sequence[Sample]) -> tuple[list[Sample], list[Straddle]]:
    """Drops what would leak from one split into another: the copy in test stays, then the one in val.

    Returns:
        The samples that stay, and a report of what was dropped for which patient or content.
    """
    rank = {"test": 0, "val": 1, "train": 2}
    kept, found = list(samples), []
    for reason in ("patient", "digest"):
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in kept:
            groups[getattr(sample, reason)].append(sample)
        for key, group in groups.items():
            splits = sorted({sample.split for sample in group}, key=rank.__getitem__)
            # val and train are pooled and split again by patient, so only the border to test can leak.
            if len(splits) > 1 and splits[0] == "test":
                lost = tuple(sample.path for sample in group if sample.split != "test")
                found.append(Straddle(reason, key, tuple(splits), lost))
                kept = [sample for sample in kept if sample.path not in set(lost)]
    return kept, found


def hold_out(samples: Sequence[Sample], *, fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Splits train and val samples into two by patient, with the same share of every family.

    Copies of one image under two patients' names stay together.

    Args:
        samples: Everything that is not test.
        fraction: Share of the patients of each family that is held out.
        seed: Decides which.

    Returns:
        The samples to train on and those held out.
    """
    owner: dict[str, str] = {}
    group: dict[str, str] = {}
    for sample in samples:
        first = owner.setdefault(sample.digest, sample.patient)
        group[sample.patient] = group.get(first, first)
    grouped = [replace(sample, patient=group[sample.patient]) for sample in samples]
    families: dict[str, set[str]] = defaultdict(set)
    for sample in grouped:
        families[f"{sample.label}-{sample.family}"].add(sample.patient)
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for family in sorted(families):
        patients = sorted(families[family])
        count = max(1, round(fraction * len(patients))) if len(patients) > 1 else 0
        held.update(rng.permutation(patients)[:count].tolist())
    return [s for s in grouped if s.patient not in held], [s for s in grouped if s.patient in held]


def read_images(samples: Sequence[Sample], *, height: int = 224, width: int = 224) -> Images:
    """Decodes samples with the runtime's own decoder and preprocessing; unreadable files are listed and left out."""
    pixels, kept, unreadable, sizes = [], [], [], []
    for sample in samples:
        try:
            radiograph = read_radiograph(sample.path)
        except InputError as error:
            unreadable.append((sample.path, str(error)))
            continue
        pixels.append(np.rint(to_input(radiograph, height=height, width=width)).astype(np.uint8))
        sizes.append(radiograph.pixels.shape)
        kept.append(sample)
    counts = Counter(sample.label for sample in kept)
    for label, name in enumerate(LABELS):
        if not counts[label]:
            raise UsageError(f"no readable {name} image among {len(samples)} files ({len(unreadable)} unreadable)")
    return Images(tuple(kept), np.stack(pixels), tuple(unreadable), np.array(sizes, np.int32))


def read_masks(samples: Sequence[Sample], masks: Path, *, height: int = 224, width: int = 224) -> NDArray[np.uint8]:
    """Lung masks ``masks/<split>/<label>/<stem>.png`` for the samples.

    Returns:
        uint8 [N, H, W]: 0 outside, 255 lung, 127 unknown; all 127 where a sample has no mask.
    """
    out = np.full((len(samples), height, width), 127, np.uint8)
    for row, sample in zip(out, samples, strict=True):
        path = masks / sample.split / LABELS[sample.label] / f"{sample.path.stem}.png"
        if path.is_file():
            mask = read_radiograph(path).pixels
            y = np.arange(height) * mask.shape[0] // height
            x = np.arange(width) * mask.shape[1] // width
            row[:] = mask[np.ix_(y, x)]
    if (out == 127).all():
        raise UsageError(f"{masks}: no mask matches; expected <split>/<label>/<image stem>.png in it")
    return out
