"""Grad-CAM and LayerCAM: exactness of the first against `tf.GradientTape` in Keras, and what both add to a prediction.

    python benchmarks/gradcam.py [--run RUN] [--radiographs 16] [--rounds 60] [--quick]

``--run`` names the `cxr-train` run folder that the bundle was exported from; without it only the time is measured.
"""

from pathlib import Path

import numpy as np

from common import alternate, inputs_of, model_for, parser, table, with_layercam
from cxr_edge import Model
from cxr_edge.runtime.networks import LAYERCAM


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--run", type=Path, default=None)
    options.number("--radiographs", 16, quick=2)
    options.number("--rounds", 60, quick=3)
    arguments = options.read()
    model = model_for(arguments)
    images = inputs_of(arguments.data.spread(arguments.radiographs))
    classifier, gradcam = model.classifier, model.explainer.gradcam

    def predict() -> None:
        classifier.predict(images[0][None])

    def both() -> None:
        gradcam.explain(classifier.predict(images[0][None])[0].features, "PNEUMONIA")

    continued = with_layercam(model).explainer.layercam.session

    def layers() -> None:
        continued.run({"pixels": images[0][None]}, ["logodds", "probability", "features", LAYERCAM])

    both()
    runs = {"predict": predict, "predict + Grad-CAM": both, "predict + LayerCAM in one run": layers}
    seconds = alternate(runs, arguments.rounds)
    rows = [[name, f"{value * 1e3:.2f} ms", f"{value / seconds['predict']:.3f}"] for name, value in seconds.items()]
    table(["warm, batch 1", "median", "of predict"], rows)
    if arguments.run is not None:
        worst = _against_keras(model, images, arguments.run)
        rows = [[name, f"{value:.1e}"] for name, value in worst.items()]
        table([f"largest difference on {len(images)} radiographs, both targets", "of the map's maximum"], rows)


def _against_keras(model: Model, images: list[np.ndarray], run: Path) -> dict[str, float]:
    """Largest difference of gradients and maps, as a share of the largest value."""
    import keras
    import tensorflow as tf

    network = keras.saving.load_model(run / "model.keras", compile=False)
    features = keras.Model(network.input, network.get_layer("pooled").input)
    layers = network.layers[[layer.name for layer in network.layers].index("pooled") :]
    worst = {"gradients": 0.0, "map": 0.0}
    for image in images:
        (prediction,) = model.classifier.predict(image[None])
        for target, label in enumerate(model.explainer.gradcam.labels):
            maps = features(image[None], training=False)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                value = maps
                for layer in layers:
                    value = layer(value)
                score = value[0, target]
            gradient = tape.gradient(score, maps).numpy()[0]
            expected = np.maximum((gradient.mean((0, 1)) * maps.numpy()[0]).sum(2), 0)
            found = model.explainer.gradcam.explain(prediction.features, label).raw
            slope = model.explainer.gradcam.gradients(prediction.features, label)
            worst["gradients"] = max(worst["gradients"], float(np.abs(slope - gradient).max() / np.abs(gradient).max()))
            if expected.max() > 0:
                worst["map"] = max(worst["map"], float(np.abs(found - expected).max() / expected.max()))
    return worst


if __name__ == "__main__":
    main()
