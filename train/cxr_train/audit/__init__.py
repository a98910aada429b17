"""The audit: what a reviewer asks of a bundle, measured on its ONNX graphs and shown on one page.

A bundle and radiographs go in, a folder comes out. Each module measures one thing and gives it as frozen dataclasses;
`page` shows what was measured from the written ``audit.json`` alone, so that several audits can stand side by side.
"""

from __future__ import annotations

import platform
import shlex
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cxr_edge import __version__
from cxr_edge.api import Model, load
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.results.output import make_folder_below, make_output_folder
from cxr_train.audit.answers import Setting
from cxr_train.audit.discrimination import attributes, discriminate, reliability, shortcuts
from cxr_train.audit.evidence import ClassEvidence, draw_gallery, evidence, outlines
from cxr_train.audit.page import draw_figures, write_page
from cxr_train.audit.record import BARS, FILE, SCHEMA, plain, read_record, write_record
from cxr_train.audit.refusals import check_others, compare_originals, pair_up, refusals
from cxr_train.audit.robustness import hide_lungs, mark, probe
from cxr_train.dataset import find_samples, read_images, read_masks

_FIGURES = "figures"
_console = Console(stderr=True)


@dataclass(frozen=True)
class Plan:
    """What an audit is to look at.

    Attributes:
        bundle: The bundle's folder; None takes the one that comes with the package.
        data: The Kaggle folder.
        split: Which of its folders.
        masks: Lung masks; None leaves out where the evidence lies.
        others: Pictures that are no chest radiographs, a folder for each kind.
        originals: Full-size originals of images in ``data``, a folder for each class.
        name: What the bundle is called on the page; None takes its own name and version.
        lime: How many images of each class LIME explains; None means all.
        resamples: Bootstrap samples behind each interval.
        seed: Of the bootstrap.
        precision: Which of the bundle's networks.
        threads: Threads for one inference; None takes every core this process may use.
        beside: Other audits that stand beside this one.
    """

    bundle: Path | None
    data: Path
    split: str = "test"
    masks: Path | None = None
    others: Path | None = None
    originals: Path | None = None
    name: str | None = None
    lime: int | None = None
    resamples: int = 1000
    seed: int = 0
    precision: str = "fp32"
    threads: int | None = None
    beside: tuple[Path, ...] = field(default_factory=tuple)


def audit(plan: Plan, out: Path) -> dict[str, Any]:
    """Measures a bundle and writes ``audit.json``, ``audit.html`` and figures.

    Args:
        plan: What to look at.
        out: Folder to write into.

    Returns:
        The content of ``audit.json``.

    Raises:
        UsageError: A folder is not as expected.
        BundleError: The bundle is missing or was changed.
        OutputError: The folder cannot be written.
    """
    # What is quick to refuse comes before the minutes of work.
    beside = [read_record(path) for path in plan.beside]
    pairs = None if plan.originals is None else pair_up(plan.originals, plan.data)
    if plan.others is not None:
        check_others(plan.others)
    try:
        make_output_folder(out)
        figures = make_folder_below(out, _FIGURES)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error}); name another folder with --out") from error

    model = load(plan.bundle, threads=plan.threads, precision=plan.precision)
    spec = model.bundle.manifest.input
    images = read_images(find_samples(plan.data, [plan.split]), height=spec.height, width=spec.width)
    masks = None
    if plan.masks is not None:
        masks = read_masks(images.samples, plan.masks, height=spec.height, width=spec.width)
    _say(f"{len(images.samples)} radiographs")
    setting = Setting.of(model, images, masks=masks, resamples=plan.resamples, seed=plan.seed)
    if not np.isfinite(setting.answers.logodds).all():
        raise UsageError(f"{model.bundle.folder}: the network answers NaN or infinity; export the bundle again")
    measured, where = _measure(setting, plan, pairs)
    values = plain({**_heading(model, setting, plan), **measured})
    values["bars"] = [bar.judge(values) for bar in BARS]
    write_record(out / FILE, values)
    _say("figures and page")
    draw_figures([values, *beside], figures)
    gallery = draw_gallery(setting, where, figures) if where else ()
    write_page(out / "audit.html", [values, *beside], figures=figures, gallery=gallery)
    return values


def _measure(
    setting: Setting, plan: Plan, pairs: list[tuple[Path, Path]] | None
) -> tuple[dict[str, Any], dict[str, ClassEvidence] | None]:
    known = attributes(setting.images)
    _say("discrimination, calibration and shortcuts")
    out: dict[str, Any] = {
        "discrimination": discriminate(setting, known),
        "reliability": reliability(setting),
        "shortcuts": shortcuts(setting, known),
        "probes": [],
    }
    for change in probe(setting):
        _say(f"probe {change.name}: {100 * change.flips.value:.1f} % of the labels flip")
        out["probes"].append(change)
    _say("markers")
    out["markers"] = mark(setting)
    _say("gate")
    out["gate"] = refusals(setting, plan.others)
    out["originals"] = None if pairs is None else compare_originals(setting, pairs)
    _say("evidence: Grad-CAM and LIME")
    where = evidence(setting, lime=plan.lime)
    out["evidence"] = where
    out["outlines"] = outlines(setting, where)
    out["hidden"] = hide_lungs(setting)
    return out, where


def _heading(model: Model, setting: Setting, plan: Plan) -> dict[str, Any]:
    bundle = model.bundle
    manifest, images = bundle.manifest, setting.images
    return {
        "schema": SCHEMA,
        "kind": "audit",
        "name": plan.name or f"{manifest.name} {manifest.version}",
        "command": shlex.join(["cxr-train", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "tools": {name: version(name) for name in ("numpy", "opencv-python-headless", "scikit-learn")}
        | {"cxr-edge": __version__, "python": platform.python_version(), "provider": model.classifier.session.provider},
        "bundle": {
            **bundle.to_json(),
            "positive": manifest.positive,
            "precision": plan.precision,
            "operating_point": manifest.operating_points.default,
            "threshold": setting.threshold,
            "gate": manifest.gate and manifest.gate.to_json(),
            "lungs": manifest.lungs and manifest.lungs.to_json(),
            "bytes": sum(record.bytes for record in manifest.files.values()),
            "files": {name: record.sha256 for name, record in manifest.files.items() if name.endswith(".onnx")},
        },
        "data": {
            "split": plan.split,
            "images": {name: int(rows.sum()) for name, rows in setting.classes.items()},
            "patients": len(set(images.patients)),
            "unreadable": [path.name for path, _ in images.unreadable],
            "masked": int(setting.masked.sum()),
        },
        "interval": f"95 %, {plan.resamples} bootstrap samples of patients, seed {plan.seed};"
        " of shares of 0 and 1 that of Wilson",
    }


def _say(text: str) -> None:
    _console.print(text, style="dim", highlight=False)
