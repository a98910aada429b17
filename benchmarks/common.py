"""What the benchmarks share: radiographs, the `lime` package on our network, alternating timing, tables."""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model, load
from cxr_edge.explanation.lime.engine import Lime
from cxr_edge.explanation.options import LimeOptions
from cxr_edge.explanation.superpixels import Superpixels
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph

Image = NDArray[np.float32]
ROOT = Path(__file__).parents[1]


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark takes."""
    options = argparse.ArgumentParser(description=description.splitlines()[0])
    options.add_argument("--bundle", type=Path, default=None, help="another bundle than the installed one")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("CXR_EDGE_DATA", ROOT.parent / "shared" / "data")),
        help="folder that holds kermany224",
    )
    return options


def model_for(options: argparse.Namespace) -> Model:
    """The bundle under test on the CPU."""
    return load(options.bundle, provider="cpu", threads=options.threads)


def test_files(data: Path, count: int) -> list[Path]:
    """Evenly spaced test radiographs, half of each class."""
    chosen = []
    for label in ("NORMAL", "PNEUMONIA"):
        files = sorted((data / "kermany224" / "test" / label).iterdir())
        chosen += [files[index] for index in np.linspace(0, len(files) - 1, (count + 1) // 2).round().astype(int)]
    return chosen[:count]


def inputs_of(files: Sequence[Path]) -> list[Image]:
    """The network's inputs."""
    return [to_input(read_radiograph(file)) for file in files]


def engine(model: Model) -> Lime:
    """The LIME engine, warmed up."""
    lime = model.explainer.lime
    lime.explain(
        np.random.default_rng(0).uniform(0, 255, (224, 224)).astype(np.float32), "NORMAL", LimeOptions(samples=64)
    )
    return lime


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
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def overlap(one: NDArray[Any], other: NDArray[Any], top: int = 5) -> float:
    """Share of the ``top`` largest absolute values in common."""
    first, second = (set(np.argsort(-np.abs(each))[:top].tolist()) for each in (one, other))
    return len(first & second) / top


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's."""
    return float(np.corrcoef(one, other)[0, 1])


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print Markdown."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
