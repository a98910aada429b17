"""The folder of radiographs: which files it holds, what their names say, and their pixels as the network takes them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Scope
from cxr_edge.errors import BundleError, InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.picture import SUFFIXES as SUFFIXES  # noqa: PLC0414  # other modules take it from here

LABELS = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")

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
    def inputs(self) -> NDArray[np.float32]:
        """The pixels as a network takes them, float32 [N, H, W] in 0..255."""
        return self.pixels.astype(np.float32)

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32 [N], 0 or 1."""
        return np.array([sample.label for sample in self.samples], np.int32)

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [sample.patient for sample in self.samples]


def two_names(text: str) -> list[str]:
    """Takes ``NORMAL,PNEUMONIA`` apart: what a hospital calls the two labels, that of the healthy first.

    Raises:
        UsageError: They are not two.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise UsageError(f"labels {text!r}; expected two names, that of the healthy first")
    return names


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
            found = Discovery((folder,), recursive=False).find()
            files = sorted(path for path in found if isinstance(path, Path))
            if not files:
                raise UsageError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))}); each class needs some")
            for path in files:
                patient, family = patient_of(path.name)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                samples.append(Sample(path, label, split, patient, family, digest))
    return samples


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Chooses evenly spaced samples, at most ``count``, as many of each label where there are enough."""
    by_label = [[sample for sample in samples if sample.label == label] for label in (0, 1)]
    # A label with fewer files than its half leaves the rest to the other.
    first = max(min(len(by_label[0]), count // 2), count - len(by_label[1]))
    out = []
    for entries, wanted in zip(by_label, (first, count - first), strict=True):
        rows = np.linspace(0, len(entries) - 1, min(wanted, len(entries))).astype(int)
        out += [entries[row] for row in rows]
    return out


def count_samples(samples: Sequence[Sample]) -> Mapping[str, int]:
    """Counts samples by label's name, and ``patients``."""
    by_label = Counter(LABELS[sample.label] for sample in samples)
    return {**{name: by_label[name] for name in LABELS}, "patients": len({sample.patient for sample in samples})}


def read_images(samples: Sequence[Sample], *, height: int = 224, width: int = 224) -> Images:
    """Decodes samples with the runtime's own decoder and preprocessing; unreadable files are listed and left out.

    Raises:
        UsageError: No image of a label can be read.
    """
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
    counts = count_samples(kept)
    for name in LABELS:
        if not counts[name]:
            raise UsageError(f"no readable {name} image among {len(samples)} files ({len(unreadable)} unreadable)")
    return Images(tuple(kept), np.stack(pixels), tuple(unreadable), np.array(sizes, np.int32))


def read_masks(samples: Sequence[Sample], masks: Path, *, height: int = 224, width: int = 224) -> NDArray[np.uint8]:
    """Lung masks ``masks/<split>/<label>/<stem>.png`` for the samples.

    Returns:
        uint8 [N, H, W]: 0 outside, 255 lung, 127 unknown; all 127 where a sample has no mask.

    Raises:
        UsageError: No sample has a mask there.
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


def noise(count: int, *, size: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    """White noise in whole grey levels, float32 [count, height, width] in 0..255."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size)).astype(np.float32)


@dataclass(frozen=True)
class Dataset:
    """A set of labelled radiographs.

    Attributes:
        name: What it is called.
        licence: Under which terms it may be used.
        citation: What its authors ask to be cited.
        population: Whose radiographs these are.
        labelling: Who called them normal or pneumonia, and from what.
        scope: The limits of the population that DICOM files can be held against; None sets none.
    """

    name: str
    licence: str
    citation: str
    population: str
    labelling: str
    scope: Scope | None = None

    @classmethod
    def read(cls, path: Path) -> Dataset:
        """Reads a JSON file with exactly the fields above; ``scope`` may be left out.

        Raises:
            UsageError: The file cannot be read or says something else.
        """
        names = [field.name for field in fields(cls)]
        try:
            values = json.loads(path.read_text("utf-8"))
            scope = values.pop("scope", None)
            return cls(**values, scope=None if scope is None else Scope(**scope))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path}: {error}; expected a JSON object with {', '.join(names)}: all text, but scope an object with"
                f" {', '.join(Scope.__struct_fields__)}, all lists"
            ) from error

    def to_json(self) -> dict[str, str]:
        """The manifest's ``data``: all but the scope, which has its own place there."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scope"}


KERMANY = Dataset(
    name="Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification, version 2",
    licence="CC BY 4.0",
    citation=(
        "Kermany D, Goldbaum M, Cai W, et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based "
        "Deep Learning. Cell 172(5):1122-1131, 2018. Data: Mendeley Data, doi:10.17632/rscbjbr9sj.2"
    ),
    population="children of 1 to 5 years, one hospital (Guangzhou Women and Children's Medical Center), AP view",
    labelling=(
        "read from the radiograph alone by two physicians, test images also by a third; neither microbiology nor "
        "clinical follow-up stands behind the labels"
    ),
    scope=Scope(ages=[1, 5], views=["AP"], body_parts=["CHEST", "THORAX", "LUNG"]),
)


def dataset_of(bundle: Bundle) -> Dataset:
    """What a bundle says it was trained on.

    Raises:
        BundleError: The manifest lacks a part of it.
    """
    try:
        return Dataset(**bundle.manifest.data, scope=bundle.manifest.scope)
    except TypeError as error:
        raise BundleError(f"{bundle.folder}: manifest.json: data: {error}; export the bundle again") from error
