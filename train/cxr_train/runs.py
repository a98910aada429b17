"""A run folder: what a training writes, who may write into it, and how it is read."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from cxr_edge.errors import UsageError
from cxr_edge.files import MARKER, write_atomically
from cxr_train.split import SPLIT_FILE, Split

RUN_FILE = "run.json"
MODEL_FILE = "model.keras"
CALIBRATION_FILE = "calibration.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
CURVES_FILE = "learning-curves.png"
STATE_FILE = "state.weights.h5"
FORMER_STATE_FILE = "state.npz"
_TOOLS = ("keras", "numpy", "opencv-python-headless", "scikit-learn")
_FIGURES = ("roc", "precision-recall", "confusion", "reliability")
_MEASURED = ("train", "val", "test", "validation")
_FILES = (
    *(RUN_FILE, MODEL_FILE, SPLIT_FILE, CALIBRATION_FILE, METRICS_FILE, HISTORY_FILE, CURVES_FILE, STATE_FILE),
    *(f"partial-{MODEL_FILE}", f"partial-{STATE_FILE}", FORMER_STATE_FILE),
    *(f"{figure}-{split}.png" for figure in _FIGURES for split in _MEASURED),
)
"""Every file that a training writes, or once wrote. Nothing else is ever deleted."""


class RunError(UsageError):
    """A run folder that cannot be used: missing or damaged files, or a network without the parts that are exported."""

    kind = "run"


@dataclass(frozen=True, eq=False)
class Run:
    """A folder with a trained network in it.

    Attributes:
        path: The folder.
        record: ``run.json``: architecture, recipe, seed, command, weights, tools, data.
    """

    path: Path
    record: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, *, command: str = "fit") -> Run:
        """Opens a run.

        Args:
            path: A folder that ``cxr-train`` wrote.
            command: With which command, for the message.

        Raises:
            RunError: The folder is not one, holds no network yet, or ``run.json`` is damaged.
        """
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; expected a run written by cxr-train {command} --out {path}")
        missing = [name for name in (RUN_FILE, MODEL_FILE) if not (path / name).is_file()]
        if missing:
            expected = f"a run written by cxr-train {command} --out {path}"
            raise RunError(f"{path}: {', '.join(missing)} missing; expected {expected}")
        return cls(path, read_json(path / RUN_FILE))

    @cached_property
    def network(self) -> Any:
        """The Keras model.

        Raises:
            RunError: It is damaged, or has layers that are not Keras' own.
        """
        import keras  # seconds to import

        path = self.path / MODEL_FILE
        try:
            return keras.saving.load_model(path, compile=False)
        except (ValueError, OSError, TypeError) as error:
            raise RunError(f"{path}: Keras cannot load it ({error}); only built-in layers can be exported") from error

    @property
    def calibration(self) -> Mapping[str, Any]:
        """``calibration.json``: ``calibration`` and ``operating_points``, in the manifest's form.

        Raises:
            RunError: It is missing or damaged.
        """
        path = self.path / CALIBRATION_FILE
        found = self._finished(path)
        if not isinstance(found, dict) or not {"calibration", "operating_points"} <= found.keys():
            raise RunError(f"{path}: expected calibration and operating_points; write it anew with cxr-train calibrate")
        return found

    @property
    def metrics(self) -> Mapping[str, Any]:
        """``metrics.json``: figures by split.

        Raises:
            RunError: It is missing or damaged.
        """
        return dict(self._finished(self.path / METRICS_FILE))

    @property
    def split(self) -> Split | None:
        """Who was held out; None for a run of a version that did not store it."""
        path = self.path / SPLIT_FILE
        return Split.read(path) if path.is_file() else None

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

    def _finished(self, path: Path) -> Any:
        if not path.is_file():
            raise RunError(
                f"{self.path}: {path.name} missing; expected a finished run:"
                f" cxr-train fit --out {self.path} --resume finishes it"
            )
        return read_json(path)


def check_claim(out: Path, settings: Mapping[str, Any], *, resume: bool, force: bool) -> bool:
    """Makes sure that a run may be written to a folder; changes nothing.

    Args:
        out: The folder.
        settings: What the run is begun with, as ``run.json`` will state it.
        resume: Goes on with the run that is there.
        force: Replaces the run that is there.

    Returns:
        Whether a run is there.

    Raises:
        UsageError: It holds a run and neither ``resume`` nor ``force`` is set, the run to resume was begun with other
            settings, files of others bear the names that a run needs, or it cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; --out names a folder")
    taken = (out / RUN_FILE).is_file()
    before = read_json(out / RUN_FILE) if taken else {}
    foreign = [RUN_FILE] if taken and not _is_record(before) else []
    if foreign or (not taken and (foreign := [name for name in _FILES if (out / name).exists()])):
        raise UsageError(f"{out}: its {foreign[0]} belongs to no run of cxr-train; name another folder with --out")
    if taken and not resume and not force:
        raise UsageError(f"{out}: already holds a run; --resume goes on with it, --force starts anew")
    if taken and resume:
        was = _flat(before)
        for key, value in _flat(settings).items():
            if was.get(key) != value:
                raise UsageError(
                    f"{out}: was begun with {key} {was.get(key)!r}, not {value!r}; resume it as it was begun"
                )
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise UsageError(f"{out}: cannot be written to; choose another --out")
    return taken


def begin(out: Path, record: Mapping[str, Any], split: Split) -> None:
    """Makes a run folder, or empties it of the files that a run wrote; every other file in it stays.

    Args:
        out: The folder, checked by `check_claim`.
        record: The content of ``run.json``, but for what is the same of every training: schema, command and tools.
        split: Who is held out.
    """
    import tensorflow as tf  # seconds to import

    tools = {name: version(name) for name in _TOOLS} | {"tensorflow": tf.__version__}
    command = shlex.join(["cxr-train", *sys.argv[1:]])
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    write_json(out / SPLIT_FILE, split.to_json())
    write_json(out / RUN_FILE, {"schema": 1, **record, "command": command, "tools": tools})


def save_whole(save: Callable[[Path], None], path: Path) -> None:
    """Has Keras save a file, whole or not at all.

    Args:
        save: Writes the file it is given.
        path: The file that takes the new one's place.
    """
    partial = path.with_name(f"partial-{path.name}")
    save(partial)
    partial.replace(path)


def read_json(path: Path) -> Any:
    """The content of one of a run's JSON files; a figure that could not be computed is None.

    Raises:
        RunError: It is damaged.
    """
    try:
        # Earlier versions wrote such a figure as NaN, which JSON proper does not have.
        return json.loads(path.read_text("utf-8"), parse_constant=lambda _name: None)
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error}); write it anew with cxr-train") from error


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file of a run, whole or not at all; what is not finite becomes null."""
    write_atomically(path, json.dumps(_finite(value), indent=2, allow_nan=False).encode() + b"\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and {"arch", "seed", "command"} <= value.keys()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
