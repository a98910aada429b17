"""What LIME costs: seconds beside bare inference and the `lime` package, memory, and what sets it apart from `lime`.

    python benchmarks/lime_cost.py [--rounds 3] [--radiographs 5] [--run RUN] [--quick]

One radiograph, 1000 samples; the competitors take turns in one process and share one segmentation, which ours makes
itself. Bare inference is 1000 ready-made inputs at the best of three batch sizes. ``--run`` names a `cxr-train` run
folder and adds `lime` on its Keras model (half a minute a round). Then the coefficients of the reference mode against
those of `lime` on the same superpixels, seed and samples, and the peak resident memory of processes of their own.
"""

import json
import resource
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Literal

import numpy as np

import cxr_edge
from common import alternate, engine, inputs_of, model_for, package_lime, parser, probability_of, table
from cxr_edge import LimeOptions
from cxr_edge.explanation.superpixels import segment

TARGET = "PNEUMONIA"
SEED = 7


def seconds(model: cxr_edge.Model, arguments: Namespace) -> None:
    """Time of each competitor."""
    lime, network, samples = engine(model), probability_of(model), arguments.samples
    image = inputs_of(arguments.data.spread(2))[1]
    regions = segment(image)
    ready = np.repeat(image[None], samples, axis=0)

    def bare(batch: int) -> None:
        for start in range(0, samples, batch):
            network(ready[start : start + batch])

    competitors = {f"bare, batch {batch}": lambda batch=batch: bare(batch) for batch in (8, 16, 32)}
    competitors["reference mode"] = lambda: lime.explain(image, TARGET, LimeOptions(mode="reference", samples=samples))
    competitors["fast mode"] = lambda: lime.explain(image, TARGET)
    package = "`lime` + ONNX Runtime"
    competitors[package] = lambda: package_lime(network, image, regions, seed=1, samples=samples)
    if arguments.run is not None:
        import keras

        net = keras.saving.load_model(arguments.run / "model.keras", compile=False)

        def by_keras(inputs: np.ndarray) -> np.ndarray:
            z = net.predict(inputs, verbose=0)
            return 1 / (1 + np.exp(z[:, 0] - z[:, 1]))

        by_keras(ready[:10])
        competitors["`lime` + Keras"] = lambda: package_lime(by_keras, image, regions, seed=1, samples=samples)
    took = alternate(competitors, arguments.rounds)
    best = min(value for name, value in took.items() if name.startswith("bare"))
    rows = [[name, f"{each:.2f}", f"{each / best:.2f}", f"{took[package] / each:.2f}"] for name, each in took.items()]
    table(["what", "seconds", "of the best bare inference", f"times faster than {package}"], rows)
    fast = lime.explain(image, TARGET)
    print(f"fast mode: {fast.estimate.samples} samples, stability {fast.stability:.2f}; {arguments.threads} threads\n")


def exactness(model: cxr_edge.Model, arguments: Namespace) -> None:
    """Largest difference of a coefficient between the reference mode and the package."""
    lime, network, samples = model.explainer.lime, probability_of(model), arguments.samples
    rows = []
    for file in arguments.data.spread(arguments.radiographs):
        (image,) = inputs_of([file])
        ours = lime.explain(image, TARGET, LimeOptions(mode="reference", samples=samples, seed=SEED))
        package = package_lime(network, image, ours.superpixels, seed=SEED, samples=samples)
        rows.append([file.name, f"{np.abs(package).max():.4f}", f"{np.abs(ours.coefficients - package).max():.1e}"])
    table(["reference mode against `lime`", "largest coefficient", "largest difference"], rows)


def memory(counts: tuple[int, int]) -> None:
    """Peak resident memory of a call, by sample count."""
    rows = []
    for mode in ("reference", "fast"):
        peaks = []
        for count in counts:
            command = [sys.executable, __file__, *sys.argv[1:], "--child", mode, str(count)]
            used, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append([mode, used, f"{peak:.0f} MB"])
            peaks.append(peak)
        rows.append([mode, "growth", f"{peaks[1] - peaks[0]:+.1f} MB"])
    table(["mode", "samples", "peak resident"], rows)


def explain_once(model: cxr_edge.Model, image: np.ndarray, mode: Literal["fast", "reference"], samples: int) -> None:
    """One call in this process; prints the samples that were taken and the peak resident memory in MB."""
    lime = engine(model)
    used = lime.explain(image, TARGET, LimeOptions(mode=mode, samples=samples)).estimate.samples
    print(json.dumps([used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--rounds", 3, quick=1)
    options.number("--radiographs", 5, quick=1, help="whose coefficients are compared")
    options.number("--samples", 1000, quick=32)
    options.add_argument("--run", type=Path, default=None)
    options.add_argument("--child", nargs=2, metavar=("MODE", "SAMPLES"), default=None, help="used by itself")
    arguments = options.read()
    model = model_for(arguments)
    if arguments.child:
        image = inputs_of(arguments.data.spread(2))[1]
        explain_once(model, image, arguments.child[0], int(arguments.child[1]))
        return
    seconds(model, arguments)
    exactness(model, arguments)
    memory((32, 64) if arguments.quick else (500, 5000))


if __name__ == "__main__":
    main()
