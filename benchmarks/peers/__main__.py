"""What users could pick instead, side by side on the shipped network, taking turns in one process.

    python -m pip install -r benchmarks/peers/requirements-openvino.txt ...
    python benchmarks/peers [--data DIR] [--quick] [--out benchmarks/RESULTS.md]

Peers that are not installed are named with the reason. Before anything is timed, every peer on the same weights must
give the same answer. Ratios are peer / ours within a round; the brackets hold the smallest and largest of the rounds.
"""

import datetime as dt
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

import explainers
import onnxruntime
import runtimes
from keras_network import rebuild
from rounds import Times, measure

from common import engine, inputs_of, model_for, package_lime, parser
from common import test_files as choose_files
from cxr_edge.api import Model
from cxr_edge.bundle import Bundle
from cxr_edge.sessions import open_session
from cxr_edge.superpixels import segment

SAMPLES = 1000
PACKAGES = ("onnxruntime", "openvino", "tensorflow-cpu", "keras", "ai-edge-litert", "lime", "dianna", "torch", "numpy")
OURS = "cxr-edge"


@dataclass
class Bench:
    """What every section needs.

    Attributes:
        model: The shipped network with everything around it.
        image: One test radiograph, float32 [224, 224] in 0..255.
        file: Its ONNX file.
        threads: Threads of every competitor.
        quick: Few rounds and samples.
        skipped: Peers left out, with the reason.
    """

    model: Model
    image: NDArray[np.float32]
    file: Path
    threads: int
    quick: bool
    skipped: dict[str, str] = field(default_factory=dict)

    def available(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, or None where a package is missing."""
        try:
            return make()
        except ImportError as error:
            self.skipped[name] = str(error)
            return None

    @cached_property
    def keras(self) -> Any:
        """The network in Keras, or None."""
        return self.available("Keras", lambda: rebuild(self.file))

    def time(self, runs: Mapping[str, Callable[[], object]]) -> Times:
        """Let them take turns."""
        return measure(runs, rounds=3 if self.quick else 15, repeats=3 if self.quick else 10)


def main() -> None:
    """Measure and write."""
    options = parser(__doc__)
    options.add_argument("--quick", action="store_true", help="few rounds and samples: does it run?")
    options.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "RESULTS.md")
    arguments = options.parse_args()
    model = model_for(arguments)
    image = inputs_of(choose_files(arguments.data, 2))[1]
    file = model.bundle.path(model.bundle.manifest.precisions["fp32"].file)
    bench = Bench(model, image, file, arguments.threads, arguments.quick)
    lines = [*predict(bench), *gradcam(bench), *lime(bench), *start(bench)]
    text = "\n".join([*head(bench), *lines, *foot(bench.skipped)]) + "\n"
    arguments.out.write_text(text)
    print(text)


def predict(bench: Bench) -> list[str]:
    """Runtimes on one input."""
    one, classifier = bench.image[None], bench.model.classifier
    networks = {"OpenVINO": bench.available("OpenVINO", lambda: runtimes.openvino(bench.file, bench.threads))}
    if bench.keras is not None:
        networks["`keras.Model.predict`"] = runtimes.keras_predict(bench.keras)
        networks["compiled Keras function"] = runtimes.keras_compiled(bench.keras)
        networks["LiteRT"] = bench.available("LiteRT", lambda: runtimes.litert(bench.keras, bench.threads))
    expected = classifier.logodds(one)
    runs: dict[str, Callable[[], object]] = {
        OURS: lambda: classifier.predict(one),
        "bare ONNX Runtime session": lambda: classifier.logodds(one),
    }
    for name, network in networks.items():
        if network is None:
            continue
        answer = network(one)
        if np.allclose(answer, expected, rtol=1e-3, atol=1e-3):
            runs[name] = partial(network, one)
        else:
            bench.skipped[name] = f"log-odds {answer[0]:.3f} on the same weights and input, not {expected[0]:.3f}"
    title = "Predict, batch 1, warm: ready input to label, calibrated probability and gate"
    return table(title, bench.time(runs))


def gradcam(bench: Bench) -> list[str]:
    """Grad-CAM: ours from the features that are there, Keras' from the input."""
    if bench.keras is None:
        return []
    one, ours = bench.image[None], bench.model.explainer.gradcam
    features = bench.model.classifier.predict(one)[0].features
    tape = runtimes.keras_gradcam(bench.keras)
    expected = ours.explain(features, "PNEUMONIA").raw
    np.testing.assert_allclose(tape(one)[0], expected, atol=1e-3 * float(expected.max()), err_msg="Grad-CAM")
    runs: dict[str, Callable[[], object]] = {
        OURS: lambda: ours.explain(features, "PNEUMONIA"),
        "Keras with `tf.GradientTape`, compiled, its own forward pass included": lambda: tape(one),
    }
    return table("Grad-CAM on top of a prediction already made", bench.time(runs))


def lime(bench: Bench) -> list[str]:
    """LIME at equal sample count, beside ours at its default."""
    image, model, samples = bench.image, bench.model, 50 if bench.quick else SAMPLES
    ours, regions = engine(model), segment(image)

    def probability(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.classifier.session.run({"pixels": inputs}, ["probability"])[0]

    runs: dict[str, Callable[[], object]] = {
        OURS: lambda: ours.explain(image, "PNEUMONIA"),
        f"cxr-edge, reference mode, {samples} samples": lambda: ours.explain_reference(
            image, "PNEUMONIA", samples=samples
        ),
        f"`lime` + ONNX Runtime, {samples} samples": lambda: package_lime(
            probability, image, regions, seed=1, samples=samples
        ),
    }
    if bench.keras is not None:
        scale, network = model.bundle.manifest.calibration.scale, runtimes.keras_predict(bench.keras)

        def by_keras(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            return 1 / (1 + np.exp(-scale * network(inputs)))

        runs[f"`lime` + Keras, {samples} samples"] = lambda: package_lime(
            by_keras, image, regions, seed=1, samples=samples
        )
    for method in ("LIME", "RISE"):
        peer = bench.available(f"dianna {method}", partial(explainers.dianna, method, probability, image, samples))
        if peer is not None:
            runs[f"`dianna` {method} + ONNX Runtime, {samples} samples"] = peer
    times = measure(runs, rounds=1 if bench.quick else 2, repeats=1, warm=False)
    return table("LIME, one radiograph (cxr-edge: fast mode at its default)", times)


def start(bench: Bench) -> list[str]:
    """From the bundle's folder to a session that can answer."""
    folder, name = bench.model.bundle.folder, bench.file.name
    runs: dict[str, Callable[[], object]] = {
        OURS: lambda: open_session(Bundle.open(folder).model(name), provider="cpu", threads=bench.threads),
        "the same ONNX file in ONNX Runtime, nothing hashed": lambda: onnxruntime.InferenceSession(
            bench.file, providers=["CPUExecutionProvider"]
        ),
    }
    return table("Session start, every file of the bundle hashed", bench.time(runs))


def table(title: str, times: Times) -> list[str]:
    """A section in Markdown."""
    lines = [f"## {title}", "", "| what | median, ms | times ours (range over the rounds) |", "| --- | --- | --- |"]
    for name in times.seconds:
        middle, low, high = times.ratio(name, OURS)
        lines.append(f"| {name} | {1000 * times.median(name):.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return [*lines, ""]


def head(bench: Bench) -> list[str]:
    """What was measured on what."""
    bundle, threads, quick = bench.model.bundle, bench.threads, bench.quick
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    made = dt.datetime.now(dt.UTC).date().isoformat()
    return [
        "# Results",
        "",
        (
            f"Written by `python benchmarks/peers{' --quick' if quick else ''}` on {made}: {platform.system()} "
            f"{platform.machine()}, {threads} threads, Python {platform.python_version()}, {', '.join(versions)}. "
            f"Bundle {bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]})."
        ),
        "",
    ]


def foot(skipped: dict[str, str]) -> list[str]:
    """Who was missing."""
    if not skipped:
        return ["Every peer was there."]
    return ["Left out: " + "; ".join(f"{name} ({reason})" for name, reason in skipped.items()) + "."]


if __name__ == "__main__":
    main()
