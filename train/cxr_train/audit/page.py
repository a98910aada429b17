"""``audit.html``, one file for a reviewer that asks no other machine for anything, and the figures in it.

Everything is shown from ``audit.json`` alone, so that other audits can stand beside it: columns of tables and further
colours. The template says what was done and how to read it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cxr_edge.files import write_atomically
from cxr_edge.results.record import RESEARCH_USE
from cxr_train.audit.evidence import GalleryPicture
from cxr_train.audit.record import Audit
from cxr_train.plots import BLUE, GREY, ORANGE, figure

NOTHING = "\N{EN DASH}"
_COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7")  # Okabe and Ito
_ROW = 0.28  # inches
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
_FORMS: Mapping[str, str] = {
    "count": "{}",
    "percent": "{:.1%}",
    "number": "{:.3f}",
    "short": "{:.2f}",
    "long": "{:.4f}",
}
Named = Mapping[str, Mapping[str, Any]]


def write_page(path: Path, audits: Sequence[Audit], *, figures: Path, gallery: Sequence[GalleryPicture]) -> None:
    """Writes the page.

    Args:
        path: Where to.
        audits: The audit itself, then those beside it.
        figures: Folder with the figures that `draw_figures` wrote.
        gallery: Pictures, those under one heading together.
    """
    environment = Environment(
        loader=PackageLoader("cxr_train.audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(show=show, rows_of=rows_of)
    headings = [(heading, list(pictures)) for heading, pictures in groupby(gallery, key=lambda each: each.heading)]
    style = files("cxr_train.audit").joinpath("templates", "audit.css").read_text("utf-8")
    text = environment.get_template("audit.html.jinja").render(
        audits=[{**audit, "derived": _derived(audit)} for audit in audits],
        gallery=headings,
        picture=_inlined,
        figures=figures,
        style=Markup(style),  # noqa: S704  # the package's own file
        research_use=RESEARCH_USE,
    )
    write_atomically(path, text.encode())


def show(form: str, value: Any, *keys: str | int) -> str:
    """A figure as people read it.

    Args:
        form: ``text``, ``count``, ``percent``, ``number``, ``short`` (two digits) or ``long`` (four); with
            ``, interval`` after it the figure is one of value, low and high.
        value: Where the figure lies.
        keys: The way to it; where one of them is missing or null, a dash is shown.
    """
    for key in keys:
        if value is None or (isinstance(value, Mapping) and key not in value):
            return NOTHING
        value = value[key]
    kind, _, interval = form.partition(", ")
    if value is None or (interval and value["value"] is None):
        return NOTHING
    if kind == "text":
        return str(value)

    def shown(number: float) -> str:
        return _FORMS[kind].format(number).replace("%", " %")

    if not interval:
        return shown(value)
    if value["low"] is None or value["high"] is None:
        return shown(value["value"])
    low, high = (shown(value[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{shown(value['value'])} ({low} to {high})"


def rows_of(audit: Audit, what: str) -> Named:
    """The named things of an audit that have a row each in a table."""
    rows: dict[str, Callable[[], Named]] = {
        "bars": lambda: {each["what"]: each for each in audit["bars"]},
        "points": lambda: {
            f"{name}{' (shipped)' if point['shipped'] else ''}": point
            for name, point in audit["discrimination"]["points"].items()
        },
        "groups": lambda: {f"{each['by']}, {each['name']}": each for each in audit["discrimination"]["groups"]},
        "probes": lambda: {each["name"]: each for each in audit["probes"]},
        "letters": lambda: {each["name"]: each for each in audit["markers"]["pasted"]},
        "attributes": lambda: {each["attribute"]: each for each in audit["shortcuts"]},
        "kinds": lambda: {each["kind"]: each for each in _kinds(audit["gate"]) if each},
    }
    return rows[what]()


def _kinds(gate: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    return [*gate["radiographs"], gate["all_radiographs"], *gate["others"], gate["all_others"]]


def _derived(audit: Audit) -> dict[str, Any]:
    """What the page says of an audit that follows from its figures."""
    flips = {
        label: [each["flips_in"].get(label) for each in audit["markers"]["pasted"]] for label in audit["data"]["images"]
    }
    originals = audit["originals"]
    return {
        "overall": next(iter(audit["discrimination"]["points"].values()))["metrics"],
        "worst": {label: None if None in values else max(values) for label, values in flips.items()},
        "same": originals and f"{originals['same']} of {originals['pairs']}",
    }


def _inlined(path: Path) -> str:
    return f"data:{_TYPES[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}"


def draw_figures(audits: Sequence[Audit], folder: Path) -> None:
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
    return ((audit, _COLOURS[place % len(_COLOURS)]) for place, audit in enumerate(audits))


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
