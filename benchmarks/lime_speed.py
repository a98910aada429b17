"""LIME, one radiograph, 1000 samples: reference mode, fast mode, bare inference and `lime`, taking turns in one run.

    python benchmarks/lime_speed.py [--rounds 3] [--run RUN]

``--run`` names a `cxr-train` run folder and adds `lime` on its Keras model (half a minute a round). All share one
segmentation; ours includes making it. Bare inference is 1000 ready-made inputs at the best of three batch sizes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import alternate, engine, inputs_of, model_for, package_lime, parser, table
from common import test_files as choose_files
from cxr_edge.explanation.options import LimeOptions
from cxr_edge.explanation.superpixels import segment

SAMPLES = 1000


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--run", type=Path, default=None)
    arguments = options.parse_args()
    model = model_for(arguments)
    lime = engine(model)
    session = model.classifier.session
    image = inputs_of(choose_files(arguments.data, 2))[1]
    regions = segment(image)
    ready = np.repeat(image[None], SAMPLES, axis=0)

    def network(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run({"pixels": inputs}, ["probability"])[0]

    def bare(batch: int) -> None:
        for start in range(0, SAMPLES, batch):
            network(ready[start : start + batch])

    competitors = {f"bare, batch {batch}": lambda batch=batch: bare(batch) for batch in (8, 16, 32)}
    competitors["reference mode"] = lambda: lime.explain(
        image, "PNEUMONIA", LimeOptions(mode="reference", samples=SAMPLES)
    )
    competitors["fast mode"] = lambda: lime.explain(image, "PNEUMONIA")
    competitors["`lime` + ONNX Runtime"] = lambda: package_lime(network, image, regions, seed=1)
    if arguments.run is not None:
        import keras

        net = keras.saving.load_model(arguments.run / "model.keras", compile=False)

        def by_keras(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            z = net.predict(inputs, verbose=0)
            return 1 / (1 + np.exp(z[:, 0] - z[:, 1]))

        by_keras(ready[:10])
        competitors["`lime` + Keras"] = lambda: package_lime(by_keras, image, regions, seed=1)
    seconds = alternate(competitors, arguments.rounds)
    best = min(value for name, value in seconds.items() if name.startswith("bare"))
    package = seconds["`lime` + ONNX Runtime"]
    rows = [[name, f"{value:.2f}", f"{value / best:.2f}", f"{package / value:.2f}"] for name, value in seconds.items()]
    table(["what", "seconds", "of the best bare inference", "times faster than `lime` + ONNX Runtime"], rows)
    fast = lime.explain(image, "PNEUMONIA")
    print(f"fast mode: {fast.estimate.samples} samples, stability {fast.stability:.2f}; {arguments.threads} threads")


if __name__ == "__main__":
    main()
