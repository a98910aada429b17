"""A trained run as it is exported: the network cut at its last feature map, and what is known about it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cxr_export.errors import RunError

_JSON_FILES = ("run.json", "metrics.json", "calibration.json")


@dataclass(frozen=True)
class Run:
    """A folder that ``cxr-train fit`` wrote, loaded.

    Attributes:
        path: The folder.
        network: The Keras model as trained.
        body: Keras model, ``pixels`` float32 [N, H, W] → features float32 [N, h, w, channels].
        head: Keras model, pooled features float32 [N, channels] → logits float32 [N, 2].
        record: ``run.json``: architecture, recipe, seed, command, weights, tools, data.
        metrics: ``metrics.json``: figures by split.
        calibration: ``method``, ``scale``, ``bias``, ``chosen_on``.
        operating_points: ``default`` and ``points``, in the manifest's form.
    """

    path: Path
    network: Any
    body: Any
    head: Any
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    calibration: Mapping[str, Any]
    operating_points: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Run:
        """Loads a run and cuts its network in two at the layer ``pooled``.

        Raises:
            RunError: A file is missing or damaged, or the network has no global average pooling named ``pooled``
                between its last feature map and its two logits.
        """
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; expected a run written by cxr-train fit --out {path}")
        missing = [name for name in ("model.keras", *_JSON_FILES) if not (path / name).is_file()]
        if missing:
            raise RunError(
                f"{path}: {', '.join(missing)} missing; expected a finished run: "
                f"cxr-train fit --out {path} (--resume goes on after a break), then cxr-train evaluate --run {path}"
            )
        record, metrics, calibration = (read_json(path / name) for name in _JSON_FILES)
        try:
            chosen = calibration["calibration"], calibration["operating_points"]
        except (KeyError, TypeError) as error:
            raise RunError(
                f"{path / 'calibration.json'}: expected calibration and operating_points; "
                f"write it anew with cxr-train fit --out {path} --resume"
            ) from error
        return cls(path, *_cut(path / "model.keras"), record, metrics, *chosen)

    @property
    def features(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature map."""
        height, width, channels = self.body.output_shape[1:]
        return height, width, channels

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        height, width = self.body.input_shape[1:]
        return height, width

    def data_folder(self, given: Path | None) -> Path:
        """The folder of radiographs: the given one, or the one of the training command.

        Raises:
            RunError: Neither is a folder.
        """
        words = shlex.split(str(self.record.get("command", "")))
        named = next((Path(after) for word, after in pairwise(words) if word == "--data"), None)
        folder = given or named
        if folder is None or not folder.is_dir():
            raise RunError(f"{folder or self.path}: no folder of radiographs; name one with --data DIR")
        return folder


def read_json(path: Path) -> Any:
    """The content of one of a run's JSON files.

    Raises:
        RunError: It is damaged.
    """
    try:
        # A figure that could not be computed is written as NaN, which JSON proper does not have.
        return json.loads(path.read_text("utf-8"), parse_constant=lambda _name: None)
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error}); write it anew with cxr-train evaluate") from error


def load_network(path: Path) -> Any:
    """The Keras model of a run.

    Raises:
        RunError: It is damaged, or has layers that are not Keras' own.
    """
    import keras  # seconds to import

    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise RunError(f"{path}: Keras cannot load it ({error}); only built-in layers can be exported") from error


def _cut(path: Path) -> tuple[Any, Any, Any]:
    import keras  # seconds to import

    network = load_network(path)
    layers = {layer.name: layer for layer in network.layers}
    pooled = layers.get("pooled")
    if not isinstance(pooled, keras.layers.GlobalAveragePooling2D) or pooled.data_format != "channels_last":
        found = type(pooled).__name__ if pooled is not None else "nothing"
        raise RunError(
            f"{path}: expected a channels-last GlobalAveragePooling2D named 'pooled' behind the last feature map, "
            f"found {found}; Grad-CAM's gradient goes through it"
        )
    if len(network.input_shape) != 3 or network.output_shape != (None, 2):
        raise RunError(
            f"{path}: expected pixels [N, height, width] in and two logits out, "
            f"found {network.input_shape} and {network.output_shape}"
        )
    activation = getattr(network.layers[-1], "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise RunError(f"{path}: the last layer ends in {activation.__name__}; expected logits, without activation")
    return network, keras.Model(network.inputs[0], pooled.input), keras.Model(pooled.output, network.outputs[0])
