"""The figures of a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # Okabe and Ito: told apart by colour-blind readers


def learning_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Training and validation losses, and validation AUROC, by epoch."""
    with figure(path, columns=2) as (left, right):
        epochs = [row["epoch"] for row in history]
        left.plot(epochs, [row["cross_entropy"] for row in history], color=GREY, label="training (varied)")
        left.plot(epochs, [row["val_clean_loss"] for row in history], color=BLUE, label="validation")
        left.plot(epochs, [row["val_shifted_loss"] for row in history], color=ORANGE, label="validation, perturbed")
        left.set(xlabel="epoch", ylabel="cross-entropy", yscale="log")
        left.legend()
        right.plot(epochs, [row["val_clean_auroc"] for row in history], color=BLUE, label="validation")
        right.plot(
            epochs,
            [row["val_shifted_auroc"] for row in history],
            color=ORANGE,
            label="validation, perturbed",
        )
        right.set(xlabel="epoch", ylabel="AUROC")
        right.legend()


def evaluation_figures(
    labels: NDArray[np.int32],
    probability: NDArray[np.float64],
    counts: NDArray[np.int64],
    metrics: Mapping[str, Any],
    *,
    threshold: float,
    folder: Path,
    split: str,
) -> None:
    """ROC, precision-recall, confusion matrix and reliability diagram as ``<figure>-<split>.png``."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_rate, true_rate, _ = roc_curve(labels, probability)
    with figure(folder / f"roc-{split}.png") as axes:
        axes.plot(false_rate, true_rate, color=BLUE, label=_stated("AUROC", metrics["auroc"]))
        axes.plot(
            1 - metrics["specificity"]["value"],
            metrics["recall"]["value"],
            "o",
            color=ORANGE,
            label=f"operating point, p ≥ {threshold:.3f}",
        )
        axes.plot([0, 1], [0, 1], ":", color=GREY)
        axes.set(xlabel="1 - specificity", ylabel="recall", title=split)
        axes.legend(loc="lower right")
    precision, recall, _ = precision_recall_curve(labels, probability)
    with figure(folder / f"precision-recall-{split}.png") as axes:
        axes.plot(recall, precision, color=BLUE, label=_stated("AUPRC", metrics["auprc"]))
        axes.axhline(labels.mean(), ls=":", color=GREY, label="chance")
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.03), title=split)
        axes.legend(loc="lower left")
    with figure(folder / f"confusion-{split}.png") as axes:
        axes.imshow(counts / counts.sum(1, keepdims=True), cmap="cividis", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            dark = counts[row, column] < counts[row].sum() / 2
            axes.text(column, row, f"{count}", ha="center", va="center", color="white" if dark else "black", size=16)
        names = ("NORMAL", "PNEUMONIA")
        axes.set(
            xticks=(0, 1),
            yticks=(0, 1),
            xticklabels=names,
            yticklabels=names,
            xlabel="called",
            ylabel="truth",
        )
        axes.set_title(f"{split}, p ≥ {threshold:.3f}")
    with figure(folder / f"reliability-{split}.png") as axes:
        observed, stated = calibration_curve(labels, probability, n_bins=10)
        axes.plot([0, 1], [0, 1], ":", color=GREY)
        axes.plot(stated, observed, "o-", color=BLUE, label=_stated("ECE", metrics["ece"]))
        axes.set(xlabel="stated probability", ylabel="observed share of PNEUMONIA", title=split)
        axes.legend(loc="upper left")


def _stated(name: str, estimate: Mapping[str, float]) -> str:
    return f"{name} {estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


class figure:  # noqa: N801  # reads as a verb where it is used
    """Gives axes to draw on and saves them when the block ends well.

    Args:
        path: The PNG to write.
        columns: Axes side by side; more than one are given as an array.
        height: Of the figure, in inches.
    """

    def __init__(self, path: Path, *, columns: int = 1, height: float = 4.4) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._path = path
        self._figure = Figure(figsize=(5.2 * columns, height), layout="constrained")
        FigureCanvasAgg(self._figure)
        self._axes = self._figure.subplots(1, columns)

    def __enter__(self) -> Any:
        return self._axes

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._figure.savefig(self._path, dpi=120)
