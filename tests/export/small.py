"""A run like one that cxr-train writes, with a network small enough to export in every test session."""

import json
from pathlib import Path

import keras
import numpy as np

from cxr_train.dataset import count_samples, find_samples
from cxr_train.split import Split

DATA = Path(__file__).parents[1] / "data" / "kermany"
SIZE = 64


def write_run(folder: Path, network: keras.Model, *, arch: str = "mobilenet") -> Path:
    """Write the files of a finished run around a Keras network."""
    folder.mkdir(parents=True)
    network.save(folder / "model.keras")
    point = {"threshold": 0.5, "criterion": "by hand", "chosen_on": "nothing", "recall": 0.9, "specificity": 0.8}
    figure = {"value": 0.9, "low": 0.8, "high": 1.0}
    samples = find_samples(DATA, ["train", "val"])
    split = Split.of(samples, seed=7)
    sides = split.sides(samples)
    files = {
        "split.json": split.to_json(),
        "run.json": {
            "schema": 1,
            "arch": arch,
            "recipe": {"name": "default"},
            "seed": 7,
            "weights": "none",
            "command": f"cxr-train fit --data {DATA} --out runs/one --seed 7",
            "data": {
                "training": count_samples(sides.learned),
                "validation": count_samples(sides.held_out),
                "unreadable": ["a.jpeg", "b.jpeg"],
            },
        },
        "metrics.json": {
            "validation": {
                "images": {"NORMAL": 2, "PNEUMONIA": 3},
                "patients": 5,
                "operating_point": "balanced",
                "interval": "95 %, 10 bootstrap samples of patients, seed 0",
                "metrics": {"auroc": figure, "recall": {**figure, "value": float("nan")}},
            }
        },
        "calibration.json": {
            "calibration": {"method": "platt", "scale": 0.7, "bias": -0.2, "chosen_on": "five radiographs"},
            "operating_points": {"default": "balanced", "points": {"balanced": point}},
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def small_network(*, activation: str = "relu", grey_copies: int = 3) -> keras.Model:
    """Build MobileNet's kinds of layers in small: 64x64 pixels in, a feature map of 16x16x12, batch norm as trained."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(layers.Reshape((SIZE, SIZE, 1))(pixels))
    if grey_copies > 1:
        x = layers.Concatenate(name="grey_to_rgb")([x] * grey_copies)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(12, 1, strides=2, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(0.3)(layers.Dense(8, activation=activation, name="hidden")(x))
    network = keras.Model(pixels, layers.Dense(2, name="logits")(x))
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            ranges = ((0.5, 2), (-0.5, 1), (-0.3, 0.3), (0.1, 1))  # gamma, beta, mean, variance
            layer.set_weights([rng.uniform(*span, layer.gamma.shape) for span in ranges])
    return network
