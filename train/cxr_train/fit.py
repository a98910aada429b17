"""The training loop: epochs, validation, the best checkpoint, and a state that survives a kill."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from cxr_edge.files import write_atomically
from cxr_train.batches import Batches
from cxr_train.perturbations import shifted
from cxr_train.trainer import Trainer

MODEL_FILE = "model.keras"
HISTORY_FILE = "history.csv"
_STATE_FILE = "state.npz"


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

        Both classes weigh the same, so that the scarcer one is not drowned.
        """
        out = {}
        weights = np.where(self.labels == 1, 1 / (self.labels == 1).sum(), 1 / (self.labels == 0).sum())
        for name, images in (("clean", self.pixels), ("shifted", self.copies)):
            probability = 1 / (1 + np.exp(-np.float64(logodds(network, images))))
            out[f"val_{name}_loss"] = float(log_loss(self.labels, probability, sample_weight=weights))
            out[f"val_{name}_auroc"] = float(roc_auc_score(self.labels, probability))
        return {"val_loss": (out["val_clean_loss"] + out["val_shifted_loss"]) / 2, **out}


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: Epochs done.
        best_epoch: The one whose weights are in the checkpoint; 0 before the first.
        best_loss: Its validation loss.
        waited: Epochs since the last better loss or cut of the rate.
        factor: What the plateau schedule has multiplied the rate with.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    waited: int = 0
    factor: float = 1.0


def logodds(network: Any, pixels: NDArray[np.uint8], *, batch: int = 64) -> NDArray[np.float32]:
    """Uncalibrated log-odds of PNEUMONIA, float32 [N], for images uint8 [N, H, W]."""
    logits = [
        np.asarray(network(pixels[start : start + batch].astype(np.float32), training=False))
        for start in range(0, len(pixels), batch)
    ]
    rows = np.concatenate(logits)
    return rows[:, 1] - rows[:, 0]


def fit(
    trainer: Trainer,
    batches: Batches,
    validation: Validation,
    *,
    run: Path,
    resume: bool = False,
    on_step: Callable[[int, int, float], None] = lambda _epoch, _step, _loss: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda _row: None,
) -> Progress:
    """Trains until the recipe's epochs are done and keeps the best epoch's network in ``run``.

    Args:
        trainer: The network and how it learns.
        batches: What it learns from.
        validation: What decides which epoch is best.
        run: Folder for the checkpoint, the history and the state.
        resume: Goes on after the last finished epoch in ``run``.
        on_step: Told the epoch, the step and the loss after each step.
        on_epoch: Told the row of the history after each epoch.

    Returns:
        Where the training stands at the end.
    """
    recipe = trainer.recipe
    progress = _load_state(trainer, run) if resume else Progress()
    history = read_history(run)[: progress.epoch]
    while progress.epoch < recipe.epochs:
        sums: dict[str, float] = {}
        for step, batch in enumerate(batches.epoch(progress.epoch)):
            trainer.optimizer.learning_rate = learning_rate(recipe, progress, step, len(batches))
            for name, value in trainer.step(batch).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch.labels)
            on_step(progress.epoch, step, sums["loss"] / ((step + 1) * batches.size))
        means = {name: total / len(batches.labels) for name, total in sums.items()}
        row = {"epoch": progress.epoch + 1, "learning_rate": float(trainer.optimizer.learning_rate), **means}
        row |= validation.scores(trainer.network)
        progress.epoch += 1
        _judge(progress, row["val_loss"])
        if progress.best_epoch == progress.epoch:
            save_network(trainer.network, run / MODEL_FILE)
        history.append(row)
        _write_history(run, history)
        _save_state(trainer, progress, run)
        on_epoch(row)
    (run / _STATE_FILE).unlink(missing_ok=True)
    return progress


def learning_rate(recipe: Any, progress: Progress, step: int, steps: int) -> float:
    """The rate of one step: warm-up and cosine, or inverse-time decay cut on plateaus."""
    done = progress.epoch * steps + step
    if recipe.schedule == "plateau":
        return float(recipe.learning_rate * progress.factor / (1 + recipe.decay * done))
    warm = min(1.0, (done + 1) / steps)
    position = max(0.0, (done - steps) / max(1, (recipe.epochs - 1) * steps))
    return float(recipe.learning_rate * warm * (1 + math.cos(math.pi * position)) / 2)


def _judge(progress: Progress, loss: float, *, patience: int = 2, cut: float = 0.2) -> None:
    if loss < progress.best_loss:
        progress.best_loss, progress.best_epoch, progress.waited = loss, progress.epoch, 0
        return
    progress.waited += 1
    if progress.waited >= patience:
        progress.factor, progress.waited = progress.factor * cut, 0


def save_network(network: Any, path: Path) -> None:
    """Saves a Keras model, whole or not at all."""
    partial = path.with_name(f"partial-{path.name}")
    network.save(partial)
    partial.replace(path)


def _save_state(trainer: Trainer, progress: Progress, run: Path) -> None:
    values: dict[str, Any] = {f"v{i}": np.asarray(v) for i, v in enumerate(trainer.variables())}
    state = io.BytesIO()
    np.savez(state, allow_pickle=False, **values, progress=np.array(json.dumps(vars(progress))))
    write_atomically(run / _STATE_FILE, state.getvalue())


def _load_state(trainer: Trainer, run: Path) -> Progress:
    path = run / _STATE_FILE
    if not path.is_file():
        return Progress()
    with np.load(path) as state:
        for i, variable in enumerate(trainer.variables()):
            variable.assign(state[f"v{i}"])
        return Progress(**json.loads(str(state["progress"])))


def read_history(run: Path) -> list[dict[str, float]]:
    """The rows of ``history.csv``, one per finished epoch; none where there is no such file."""
    path = run / HISTORY_FILE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _write_history(run: Path, history: list[dict[str, float]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    write_atomically(run / HISTORY_FILE, table.getvalue().encode())
