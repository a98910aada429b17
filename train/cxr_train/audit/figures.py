"""The figures of an audit, each drawn from ``audit.json`` alone; further audits appear in further colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_train.plots import BLUE, GREY, ORANGE, figure

Audit = Mapping[str, Any]
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7")  # Okabe and Ito
_ROW = 0.28  # inches


def draw(audits: Sequence[Audit], folder: Path) -> None:
    """Draws every figure that the first audit has the measurements for.

    Args:
        audits: The audit itself, then those beside it.
        folder: Where the PNGs go.
    """
    _curve(audits, folder / "roc.png")
    _reliability(audits, folder / "reliability.png")
    _probes(audits, folder / "probes.png")
    _shortcuts(audits[0], folder / "shortcuts.png")
    if audits[0]["evidence"]:
        _evidence(audits, folder / "evidence.png")
    if audits[0]["gate"]["scores"]["radiographs"]:
        _gate(audits[0], folder / "gate.png")


def _coloured(audits: Sequence[Audit]) -> Iterator[tuple[Audit, str]]:
    return ((audit, COLOURS[place % len(COLOURS)]) for place, audit in enumerate(audits))


def _curve(audits: Sequence[Audit], path: Path) -> None:
    with figure(path) as axes:
        axes.plot([0, 1], [0, 1], ":", color=GREY)
        for audit, colour in _coloured(audits):
            points = audit["discrimination"]["points"].items()
            shipped = next(point for _, point in points if point["shipped"])
            auroc = shipped["metrics"]["auroc"]["value"]
            axes.plot(
                *np.array(audit["discrimination"]["curve"]).T, color=colour, label=f"{audit['name']}: {auroc:.3f}"
            )
            for (name, point), marker in zip(points, "o^sDv", strict=False):
                place = (1 - point["metrics"]["specificity"]["value"], point["metrics"]["recall"]["value"])
                label = f"{name}{' (shipped)' if point['shipped'] else ''}" if len(audits) == 1 else None
                axes.plot(*place, marker, color=colour, mfc=colour if point["shipped"] else "w", label=label)
        axes.set(xlabel="1 - specificity", ylabel="recall", title="ROC; filled: the shipped operating point")
        axes.legend(loc="lower right", title="AUROC")


def _reliability(audits: Sequence[Audit], path: Path) -> None:
    with figure(path) as axes:
        axes.plot([0, 1], [0, 1], ":", color=GREY)
        for audit, colour in _coloured(audits):
            bins = audit["reliability"]["bins"]
            stated, observed = [each["stated"] for each in bins], [each["observed"] for each in bins]
            ece = audit["reliability"]["ece"]["value"]
            axes.plot(stated, observed, "-", color=colour, lw=1, label=f"{audit['name']}: {ece:.3f}")
            axes.scatter(stated, observed, [10 + 2 * each["images"] for each in bins], color=colour, alpha=0.6)
        axes.set(xlabel="stated probability", ylabel="observed share of the positive class")
        axes.set_title("Reliability; area of a dot: images")
        axes.legend(loc="upper left", title="ECE")


def _probes(audits: Sequence[Audit], path: Path) -> None:
    names = [each["name"] for each in audits[0]["probes"]]
    with figure(path, columns=2, height=1.2 + _ROW * len(names)) as (left, right):
        for place, (audit, colour) in enumerate(_coloured(audits)):
            by = {each["name"]: each for each in audit["probes"]}
            rows = [(row, by[name]) for row, name in enumerate(names) if name in by]
            offset = (place - (len(audits) - 1) / 2) * 0.25
            for axes, key, factor in ((left, "flips", 100), (right, "moved", 1)):
                value, low, high = (
                    factor * np.array([each[key][part] for _, each in rows]) for part in ("value", "low", "high")
                )
                at = [row + offset for row, _ in rows]
                bars = np.maximum([value - low, high - value], 0)
                axes.errorbar(value, at, xerr=bars, fmt="o", ms=4, lw=1, color=colour, label=audit["name"])
        left.set(xlabel="labels that flip, %", yticks=range(len(names)), yticklabels=names)
        right.set(xlabel="mean change of the log-odds", yticks=range(len(names)), yticklabels=[])
        for axes in (left, right):
            axes.invert_yaxis()
            axes.grid(axis="x", alpha=0.3)
            axes.set_xlim(left=0)
        if len(audits) > 1:
            left.legend()


def _shortcuts(audit: Audit, path: Path) -> None:
    names = [each["attribute"] for each in audit["shortcuts"]]
    with figure(path, columns=2, height=1.2 + 2 * _ROW * len(names)) as (axes, beside):
        for place, (label, colour) in enumerate(zip(audit["data"]["images"], (BLUE, ORANGE), strict=True)):
            found = [each["correlation"][label] for each in audit["shortcuts"]]
            known = [(row + (place - 0.5) * 0.2, each) for row, each in enumerate(found) if each["value"] is not None]
            value, low, high = (np.array([each[part] for _, each in known]) for part in ("value", "low", "high"))
            bars = np.maximum([value - low, high - value], 0)
            axes.errorbar(value, [row for row, _ in known], xerr=bars, fmt="o", ms=4, lw=1, color=colour, label=label)
        axes.axvline(0, color=GREY, ls=":")
        axes.set(xlabel="Spearman's correlation with the log-odds", yticks=range(len(names)), yticklabels=names)
        axes.set(xlim=(-1, 1), ylim=(len(names) - 0.5, -0.5))
        axes.legend()
        beside.barh(range(len(names)), [each["auroc"] for each in audit["shortcuts"]], 0.4, color=GREY)
        beside.set(xlabel="AUROC of the attribute alone", yticks=range(len(names)), yticklabels=[])
        beside.set(xlim=(0.5, 1), ylim=(len(names) - 0.5, -0.5))


def _evidence(audits: Sequence[Audit], path: Path) -> None:
    labels = list(audits[0]["evidence"])
    with figure(path, columns=len(labels), height=3.6) as panels:
        for axes, label in zip(panels, labels, strict=True):
            for audit, colour in _coloured([each for each in audits if each["evidence"]]):
                found = audit["evidence"][label]
                for key, style in (("gradcam", "-"), ("lime", "--")):
                    values = [value for value in found[key] if value is not None]
                    if values:
                        counts, edges = np.histogram(values, 20, (0, 1))
                        name = {"gradcam": "Grad-CAM", "lime": "LIME"}[key]
                        title = name if len(audits) == 1 else f"{name}, {audit['name']}"
                        axes.stairs(counts / len(values), edges, color=colour, ls=style, label=title)
            lungs, most = (audits[0]["evidence"][label]["means"][part]["value"] for part in ("lungs", "bound"))
            if lungs is not None:
                axes.axvline(lungs, color=GREY, ls=":", label="lungs' share of the picture")
                axes.axvline(most, color="black", ls=":", lw=1, label="bound of a map of cells")
            axes.set(xlabel="share of the evidence inside the lungs", ylabel="share of the images", title=label)
        panels[0].legend(fontsize=7, loc="upper left")


def _gate(audit: Audit, path: Path) -> None:
    scores = {name: np.array([each for each in values if each is not None]) for name, values in _gate_scores(audit)}
    every = np.concatenate(list(scores.values()))
    edges = np.linspace(every.min(), np.quantile(every, 0.99), 50)
    with figure(path, height=3.2) as axes:
        for (name, values), colour in zip(scores.items(), (BLUE, ORANGE), strict=False):
            if len(values):
                shown = np.minimum(values, edges[-1])
                axes.hist(
                    shown, edges, weights=np.full(len(shown), 1 / len(shown)), color=colour, alpha=0.6, label=name
                )
        axes.axvline(audit["gate"]["threshold"], color="black", ls="--", lw=1, label="refused above")
        axes.set(xlabel="the gate's score (the last bin holds all above)", ylabel="share of the pictures")
        axes.legend()


def _gate_scores(audit: Audit) -> Iterator[tuple[str, list[float | None]]]:
    yield "radiographs", audit["gate"]["scores"]["radiographs"]
    yield "other pictures", audit["gate"]["scores"]["others"]
