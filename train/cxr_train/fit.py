"""The training loop: Keras' own, with the callbacks that decide, record and let it go on after a kill."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.metrics import log_loss, roc_auc_score

from cxr_edge.files import write_atomically
from cxr_train.evaluation import console
from cxr_train.learner import Batches, ClassifierLearner
from cxr_train.network import logodds
from cxr_train.perturbations import shifted
from cxr_train.recipes import Recipe
from cxr_train.runs import HISTORY_FILE, MODEL_FILE, STATE_FILE


@dataclass(frozen=True)
class Validation:
    """Held-out radiographs as they are, and perturbed copies of them.

    Attributes:
        pixels: uint8 [N, H, W].
        labels: int32 [N].
        copies: uint8 [N, H, W], each with one fixed perturbation.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    copies: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        """Perturbs the copies."""
        object.__setattr__(self, "copies", shifted(self.pixels))

    def scores(self, network: Any) -> dict[str, float]:
        """Log loss and AUROC on the originals and the copies, and ``val_loss``, the mean of the two log losses.

        Both classes count the same, so that the scarcer one is not drowned.
        """
        out = {}
        weights = np.where(self.labels == 1, 1 / (self.labels == 1).sum(), 1 / (self.labels == 0).sum())
        for name, images in (("clean", self.pixels), ("shifted", self.copies)):
            probability = 1 / (1 + np.exp(-np.float64(logodds(network, images))))
            out[f"val_{name}_loss"] = float(log_loss(self.labels, probability, sample_weight=weights))
            out[f"val_{name}_auroc"] = float(roc_auc_score(self.labels, probability))
        return {"val_loss": (out["val_clean_loss"] + out["val_shifted_loss"]) / 2, **out}


class Position(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sets everything that depends on the epoch and the step: the batches, the random numbers and the learning rate.

    None of it depends on what happened before in the same process, so a resumed training goes on exactly.

    Args:
        batches: Whose epoch is set.
        seed: Of dropout.
        losses: The validation losses of the epochs that are done; None leaves the learning rate alone.
    """

    def __init__(self, batches: Batches, *, seed: int, losses: Sequence[float] | None = None) -> None:
        super().__init__()
        self._batches, self._seed = batches, seed
        self._losses = None if losses is None else list(losses)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Chooses the epoch's batches and dropout's random numbers."""
        del logs
        self._batches.epoch = epoch
        for layer in self.model.network.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([self._seed % 2**32, epoch * len(self._batches)])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Sets the learning rate of the step."""
        del logs
        if self._losses is not None:
            position = self._batches.epoch * len(self._batches) + batch
            rate = learning_rate(self.model.recipe, position, len(self._batches), self._losses)
            self.model.optimizer.learning_rate = rate

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Notes the validation loss, which may cut the learning rate."""
        del epoch
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self._losses is not None:
            self._losses.append(logs["val_loss"])


class Scores(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures the network on held-out radiographs at the end of an epoch; the callbacks behind it see the figures."""

    def __init__(self, validation: Validation) -> None:
        super().__init__()
        self._validation = validation

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Adds the figures to those of the training."""
        del epoch
        logs.update(self._validation.scores(self.model.network))


class History(keras.callbacks.CSVLogger):  # type: ignore[misc]
    """Writes ``history.csv``; the first epoch has number 1."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a row."""
        super().on_epoch_end(epoch + 1, logs)


class Report(keras.callbacks.Callback):  # type: ignore[misc]
    """Moves a bar on a terminal, and prints a line after every epoch, on stderr."""

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self.bars.add_task("", total=steps)
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins a new bar."""
        del logs
        self.bars.update(self._bar, completed=0, description=f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar."""
        del logs
        self.bars.update(self._bar, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Prints the main figures."""
        console.print(
            f"epoch {epoch + 1}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}; held out: loss"
            f" {logs['val_loss']:.4f}, AUROC {logs['val_clean_auroc']:.4f}, perturbed {logs['val_shifted_auroc']:.4f}"
        )


def fit(learner: ClassifierLearner, batches: Batches, validation: Validation, *, run: Path, seed: int) -> bool:
    """Trains until the recipe's epochs are done and keeps the network of the best epoch in ``run``.

    After every epoch the whole state is written to one file, and a training goes on from it. (Keras' BackupAndRestore
    writes the number of the epoch to a second file: killed between the two, it goes on with the wrong one.)

    Args:
        learner: The network and its losses.
        batches: What it learns from.
        validation: What decides which epoch is best.
        run: Folder for the checkpoint, the history and the state.
        seed: Of dropout.

    Returns:
        Whether the user interrupted it.
    """
    epochs, state, done = learner.recipe.epochs, run / STATE_FILE, 0
    if state.is_file():
        learner.load_weights(state)
        done = int(learner.optimizer.iterations) // len(batches)
    history = read_history(run)[:done]
    _write_history(run, history)
    losses = [row["val_loss"] for row in history]
    checkpoint = keras.callbacks.ModelCheckpoint
    best = {"monitor": "val_loss", "mode": "min", "save_best_only": True}
    log, report = History(run / HISTORY_FILE, append=done > 0), Report(epochs, len(batches))
    callbacks = [
        Scores(validation),
        Position(batches, seed=seed, losses=losses),
        checkpoint(run / MODEL_FILE, **best, initial_value_threshold=min(losses, default=None)),
        log,
        checkpoint(state, save_weights_only=True),
        report,
    ]
    with report.bars:
        try:
            learner.fit(batches, epochs=epochs, initial_epoch=done, shuffle=False, verbose=0, callbacks=callbacks)
        except KeyboardInterrupt:
            return True
        finally:
            if log.csv_file is not None:
                log.csv_file.close()
    return False


def learning_rate(recipe: Recipe, step: int, steps: int, losses: Sequence[float]) -> float:
    """The rate of one step: warm-up and cosine, or inverse-time decay cut on plateaus.

    Args:
        recipe: With its schedule.
        step: Steps that were taken before, over all epochs.
        steps: Steps in an epoch.
        losses: The validation losses of the epochs that are done.
    """
    if recipe.schedule == "plateau":
        return float(recipe.learning_rate * _plateau_factor(losses) / (1 + recipe.decay * step))
    warm = min(1.0, (step + 1) / steps)
    position = max(0.0, (step - steps) / max(1, (recipe.epochs - 1) * steps))
    return float(recipe.learning_rate * warm * (1 + math.cos(math.pi * position)) / 2)


def _plateau_factor(losses: Sequence[float], *, patience: int = 2, cut: float = 0.2) -> float:
    best, waited, factor = math.inf, 0, 1.0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= patience:
            factor, waited = factor * cut, 0
    return factor


def read_history(run: Path) -> list[dict[str, float]]:
    """The rows of ``history.csv``, one per finished epoch; none where there is no such file."""
    path = run / HISTORY_FILE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        # A row that was cut off by a kill lacks values.
        whole = [row for row in csv.DictReader(file) if all(row.values())]
    return [{name: float(value) for name, value in row.items()} for row in whole]


def _write_history(run: Path, history: Sequence[Mapping[str, float]]) -> None:
    lines = [",".join(history[0]), *(",".join(map(repr, row.values())) for row in history)] if history else []
    write_atomically(run / HISTORY_FILE, "".join(f"{line}\n" for line in lines).encode())
