"""What the benchmarks share: options, radiographs, the `lime` package on our network, agreement, intervals, tables."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import cxr_edge
from cxr_edge import LimeOptions
from cxr_edge.bundle.manifest import FeatureSpec, FileRecord, LayerCamSpec
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.superpixels import Superpixels
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from rounds import take_turns

Image = NDArray[np.float32]
ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests" / "data"
LABELS = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True)
class Data:
    """Where the radiographs are.

    Attributes:
        radiographs: Folder with ``train``, ``val`` and ``test``, in each a folder for each label.
        masks: Folder of the same shape with lung masks drawn by people.
        originals: Folder of radiographs at the size that they were published in.
    """

    radiographs: Path
    masks: Path
    originals: Path

    @classmethod
    def of(cls, folder: Path, *, quick: bool) -> "Data":
        """The full set, or in quick mode the few radiographs of the repository.

        Raises:
            SystemExit: The full set is not there.
        """
        if quick:
            return cls(SAMPLES / "kermany", SAMPLES / "lungmasks", SAMPLES / "radiographs")
        if not (folder / "kermany224").is_dir():
            raise SystemExit(f"{folder}: no kermany224 in it; name the folder with --data, or try --quick")
        return cls(folder / "kermany224", folder / "lungmasks224", folder / "originals")

    def split(self, name: str) -> list[Path]:
        """All radiographs of a split, NORMAL first."""
        return [path for label in LABELS for path in sorted((self.radiographs / name / label).iterdir())]

    def spread(self, count: int, *, split: str = "test") -> list[Path]:
        """Evenly spaced radiographs of a split, half of each class; all of them where there are fewer."""
        chosen = []
        for label in LABELS:
            files = sorted((self.radiographs / split / label).iterdir())
            places = np.linspace(0, len(files) - 1, min((count + 1) // 2, len(files))).round().astype(int)
            chosen += [files[place] for place in places]
        return chosen[:count]

    def mask_of(self, radiograph: Path) -> Path:
        """Where the mask of a radiograph lies, if it has one."""
        return self.masks / Path(*radiograph.parts[-3:]).with_suffix(".png")


class Options(argparse.ArgumentParser):
    """Options of a benchmark: its own, and ``--quick``, which changes some defaults and proves nothing.

    Args:
        description: The script's docstring.
    """

    def __init__(self, description: str) -> None:
        super().__init__(description=description.splitlines()[0])
        self._quick: dict[str, Any] = {}
        self.add_argument("--quick", action="store_true", help="few inputs and rounds, to see that it works")

    def number(self, flag: str, default: int, *, quick: int, help: str | None = None) -> None:  # noqa: A002
        """Adds a whole number with a default of its own in quick mode."""
        action = self.add_argument(flag, type=int, default=default, help=help)
        self._quick[action.dest] = quick

    def levels(self, flag: str, default: list[float]) -> None:
        """Adds any number of numbers; none in quick mode."""
        action = self.add_argument(flag, type=float, nargs="*", default=default)
        self._quick[action.dest] = []

    def with_bundle(self) -> "Options":
        """Adds which bundle to take, and how many threads."""
        self.add_argument("--bundle", type=Path, default=None, help="another bundle than the installed one")
        self.add_argument("--threads", type=int, default=2)
        return self

    def with_data(self) -> "Options":
        """Adds where the radiographs are."""
        self.add_argument(
            "--data",
            type=Path,
            default=Path(os.environ.get("CXR_EDGE_DATA", ROOT.parent / "shared" / "data")),
            help="folder that holds kermany224; --quick takes the samples of the repository",
        )
        return self

    def read(self) -> argparse.Namespace:
        """Reads the command line; ``data`` becomes a `Data`."""
        if "--quick" in sys.argv[1:]:
            self.set_defaults(**self._quick)
        arguments = self.parse_args()
        if "data" in arguments:
            arguments.data = Data.of(arguments.data, quick=arguments.quick)
        return arguments


def parser(description: str) -> Options:
    """Options of a benchmark that asks a bundle about radiographs."""
    return Options(description).with_bundle().with_data()


def model_for(options: argparse.Namespace, **choices: Any) -> cxr_edge.Model:
    """The bundle under test on the CPU, in float32 unless another precision is asked for."""
    return cxr_edge.load(options.bundle, provider="cpu", threads=options.threads, **{"precision": "fp32", **choices})


def with_layercam(model: cxr_edge.Model) -> cxr_edge.Model:
    """The same model with LayerCAM, made of its own classifier where its bundle has none; in memory only."""
    from cxr_export.layercam import LAYERCAM_FILE, layercam_graph

    bundle = model.bundle
    data, layers = layercam_graph(bundle.model(bundle.manifest.precisions["fp32"].file))
    spec = LayerCamSpec(LAYERCAM_FILE, [FeatureSpec(**layer.to_json()) for layer in layers])
    files = {**bundle.manifest.files, LAYERCAM_FILE: FileRecord("0" * 64, 0)}
    bundle = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, layercam=spec, files=files))
    continued = bundle.with_network(LAYERCAM_FILE, data)
    classifier = model.classifier
    return cxr_edge.Model(Classifier(continued, provider="cpu", threads=classifier.session.threads))


def inputs_of(files: Sequence[Path]) -> list[Image]:
    """The network's inputs."""
    return [to_input(cxr_edge.read_radiograph(file)) for file in files]


def engine(model: cxr_edge.Model) -> Lime:
    """The LIME engine, warmed up."""
    lime = model.explainer.lime
    noise = np.random.default_rng(0).uniform(0, 255, (224, 224)).astype(np.float32)
    lime.explain(noise, "NORMAL", LimeOptions(samples=64))
    return lime


def probability_of(model: cxr_edge.Model) -> Callable[[Image], NDArray[np.float32]]:
    """The network alone: inputs [n, 224, 224] → calibrated probability of the positive label [n]."""
    session = model.classifier.session
    return lambda inputs: session.run({"pixels": inputs}, ["probability"])[0]


def package_lime(
    positive: Callable[[Image], NDArray[Any]], image: Image, regions: Superpixels, *, seed: int, samples: int = 1000
) -> NDArray[np.float64]:
    """Coefficients of the positive label as the `lime` package finds them, at its own defaults.

    Args:
        positive: Inputs [n, 224, 224] → probability of the positive label [n].
        image: The input.
        regions: Its superpixels.
        seed: The package's ``random_state``.
        samples: The package's ``num_samples``.
    """
    from lime.lime_image import LimeImageExplainer

    def probabilities(rgb: NDArray[Any]) -> NDArray[Any]:
        values = np.asarray(positive(np.ascontiguousarray(rgb[..., 0], np.float32)), np.float64)
        return np.stack([1 - values, values], axis=1)

    explained = LimeImageExplainer(random_state=seed).explain_instance(
        np.repeat(image[:, :, None], 3, axis=2),
        probabilities,
        num_samples=samples,
        segmentation_fn=lambda _: regions.labels,
    )
    pairs = dict(explained.local_exp[1])
    return np.array([pairs[index] for index in range(regions.count)])


def alternate(competitors: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each competitor; they take turns, so that a busy machine slows all of them alike."""
    seconds = take_turns(competitors, rounds, warm=0, lead=0, pause=0)
    return {name: seconds.median(name) for name in competitors}


def overlap(one: NDArray[Any], other: NDArray[Any], top: int = 5) -> float:
    """Share of the ``top`` largest absolute values in common."""
    first, second = (set(np.argsort(-np.abs(each))[:top].tolist()) for each in (one, other))
    return len(first & second) / top


def pearson(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's correlation."""
    return float(np.corrcoef(one, other)[0, 1])


def spearman(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; NaN where one is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % percentile bootstrap interval (Efron and Tibshirani 1993); NaN values are left out."""
    from scipy.stats import bootstrap

    known = np.array([value for value in values if not np.isnan(value)])
    if len(known) < 2:
        return (float(known.mean()) if len(known) else float("nan")), float("nan"), float("nan")
    random = np.random.default_rng(0)
    found = bootstrap((known,), np.mean, n_resamples=2000, method="percentile", rng=random).confidence_interval
    return float(known.mean()), float(found.low), float(found.high)


def by_patient(files: Sequence[Path], values: Sequence[float]) -> list[float]:
    """Means by patient: radiographs of one patient say the same thing twice. NaN values are left out."""
    from cxr_train.dataset import patient_of

    groups: dict[tuple[str, str], list[float]] = {}
    for file, value in zip(files, values, strict=True):
        if not np.isnan(value):
            groups.setdefault(patient_of(file.name), []).append(value)
    return [float(np.mean(each)) for each in groups.values()]


def share(part: int, whole: int) -> str:
    """A share with its 95 % interval (Wilson 1927), in percent: it has a width at 0 and 1, too."""
    from scipy.stats import binomtest

    if not whole:
        return "none"
    found = binomtest(part, whole).proportion_ci(method="wilson")
    return f"{100 * part / whole:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print Markdown."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
