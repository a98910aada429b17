"""A bundle made to fit one hospital: its calibration, its thresholds and its scope, judged on patients left out.

The network stays as it is. Refitting its last layer on 50 to 200 radiographs of another hospital, from the last
feature map, the hidden layer or the gate's descriptor, with the distance to the old weights penalised, raised the
specificity at 99 % recall by 0.9 points at most and cost AUROC wherever it moved anything.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from cxr_edge.api import load
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Calibration
from cxr_edge.errors import CxrEdgeError
from cxr_edge.results.outcomes import Answer, attempt
from cxr_export.attach import recalibrate
from cxr_export.bundle import changing, check_replaceable
from cxr_export.scope import FALSE_REFUSALS
from cxr_train.calibration import Floats, calibrated, fit_calibration, operating_points
from cxr_train.dataset import LABELS
from cxr_train.metrics import bootstrapped, bootstrapped_mean, decided, expected_calibration_error
from cxr_train.runs import write_json
from cxr_train.site import AUROC, FEWEST, find_labelled

FOLDS = 5


class NotBetterError(CxrEdgeError):
    """A bundle that cannot be made fit for a hospital, or that serves it best as it is."""

    kind = "adaptation"


@dataclass(frozen=True, eq=False)
class Scored:
    """What a bundle says of the chest radiographs of a hospital, whether it would refuse them or not.

    Attributes:
        logodds: float64 [N], uncalibrated.
        elsewhere: float64 [N], log-odds of coming from elsewhere; None where the bundle cannot tell.
        labels: int32 [N].
        patients: Who each shows.
    """

    logodds: Floats
    elsewhere: Floats | None
    labels: NDArray[np.int32]
    patients: tuple[str, ...]

    def part(self, rows: NDArray[Any]) -> Scored:
        """Some of the radiographs, by number."""
        elsewhere = None if self.elsewhere is None else self.elsewhere[rows]
        return Scored(self.logodds[rows], elsewhere, self.labels[rows], tuple(self.patients[row] for row in rows))


@dataclass(frozen=True, eq=False)
class Judged:
    """Probabilities, and the thresholds that they are held against: one of each an image, all float64 [N]."""

    probability: Floats
    threshold: Floats
    certain_from: Floats
    scope_limit: Floats


def adapt(*, bundle: Path | None, data: Path, out: Path, names: Sequence[str] = LABELS) -> dict[str, Any]:
    """Gives a bundle the calibration, the thresholds and the scope that fit a hospital.

    Args:
        bundle: Its folder; None takes the one that comes with the package.
        data: See `cxr_train.site.find_labelled`.
        out: Folder of the new bundle.
        names: See `cxr_train.site.find_labelled`.

    Returns:
        The figures of both bundles on patients who were left out, five-fold by patient; the new one's card has them.

    Raises:
        UsageError: ``data`` is not as expected, or ``out`` is there already.
        NotBetterError: There are too few patients, the network does not tell the classes apart there, or it does no
            better than before; nothing is written.
    """
    check_replaceable(out, force=False)
    own = ask(bundle, data, names)
    original = Bundle.open(bundle)
    patients = {
        label: len({p for p, y in zip(own.patients, own.labels, strict=True) if y == label}) for label in (0, 1)
    }
    if min(patients.values()) < FEWEST:
        raise NotBetterError(
            f"{data}: {patients[0]} {names[0]} and {patients[1]} {names[1]} patients; {FEWEST} of each are needed",
            cure="collect more radiographs",
        )
    before, after = as_it_is(original, own), _cross_validated(original, own)
    auroc = bootstrapped(own.labels, before.probability, own.patients, 0.5)["auroc"]
    if auroc.low < AUROC:
        raise NotBetterError(
            f"{data}: the network does not tell the two apart well enough there: AUROC {auroc.value:.3f}, 95 % interval"
            f" from {auroc.low:.3f}; no calibration mends that",
            cure="do not use it there",
        )
    losses = [_log_losses(own.labels, each.probability) for each in (before, after)]
    gain = bootstrapped_mean(losses[0] - losses[1], own.patients)
    if gain.value <= 0:
        raise NotBetterError(
            f"{data}: on patients left out, the adapted bundle's log loss is {losses[1].mean():.4f}, that of the bundle"
            f" as it is {losses[0].mean():.4f}",
            cure="keep the bundle as it is",
        )
    report = {
        "schema": 1,
        "kind": "adaptation",
        "bundle": {"name": original.manifest.name, "version": original.manifest.version, "sha256": original.digest},
        "radiographs": len(own.labels),
        "patients": {name: patients[label] for label, name in enumerate(LABELS)},
        "method": f"{FOLDS}-fold by patient: each is answered with what was chosen without this patient",
        "as_it_is": figures_of(before, own),
        "adapted": figures_of(after, own),
        "log_loss_gain": gain.to_json(),
    }
    _write(original, own, report, out)
    return report


def ask(bundle: Path | None, data: Path, names: Sequence[str]) -> Scored:
    """Has a bundle score the radiographs of a hospital; see `adapt` for what it takes and raises.

    What is no chest radiograph says nothing about the hospital and is left out; what is refused as another's stays.
    """
    labelled = find_labelled(data, names=names)
    model = load(bundle)
    gate = model.bundle.manifest.gate
    outcomes = [(each, attempt(each.path, partial(model.predict, each.path))) for each in labelled]
    kept = [
        (each, one.prediction)
        for each, one in outcomes
        if isinstance(one, Answer) and (one.refusal is None or one.refusal.scope == "outside")
    ]
    return Scored(
        np.array([one.logodds for _, one in kept], np.float64),
        np.array([one.scope_score for _, one in kept], np.float64) if gate and gate.scope else None,
        np.array([each.label for each, _ in kept], np.int32),
        tuple(each.patient for each, _ in kept),
    )


def as_it_is(bundle: Bundle, own: Scored) -> Judged:
    """Answers with the calibration, the default operating point and the scope of the bundle."""
    manifest = bundle.manifest
    point = manifest.operating_points.points[manifest.operating_points.default]
    limit = manifest.gate.scope.threshold if manifest.gate and manifest.gate.scope else np.inf
    ones = np.ones(len(own.labels))
    probability = calibrated(manifest.calibration, own.logodds)
    return Judged(probability, point.threshold * ones, point.upper * ones, limit * ones)


@dataclass(frozen=True, eq=False)
class Choice:
    """What fits a hospital: calibration, operating points in the manifest's form, the largest scope score answered."""

    calibration: Calibration
    points: dict[str, Any]
    scope_limit: float

    @classmethod
    def of(cls, bundle: Bundle, own: Scored) -> Choice:
        """Chooses all three on radiographs of the hospital."""
        chosen_on = f"{len(own.labels)} radiographs of {len(set(own.patients))} patients of the hospital adapted to"
        calibration = fit_calibration(own.logodds, own.labels, chosen_on=chosen_on)
        probability = calibrated(calibration, own.logodds)
        points = operating_points(probability, own.labels, own.patients, chosen_on=chosen_on)
        scope, limit = bundle.manifest.gate and bundle.manifest.gate.scope, np.inf
        if scope and own.elsewhere is not None:
            limit = max(scope.threshold, float(np.quantile(own.elsewhere, 1 - FALSE_REFUSALS)))
        return cls(calibration, points, limit)

    def judge(self, own: Scored) -> Judged:
        """Answers, at the default operating point."""
        point, ones = self.points["points"][self.points["default"]], np.ones(len(own.labels))
        probability = calibrated(self.calibration, own.logodds)
        return Judged(probability, point["threshold"] * ones, point["certain_from"] * ones, self.scope_limit * ones)


def _cross_validated(bundle: Bundle, own: Scored) -> Judged:
    columns = [np.zeros(len(own.labels)) for _ in range(4)]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for chosen_on, left_out in folds.split(own.logodds, own.labels, own.patients):
        judged = Choice.of(bundle, own.part(chosen_on)).judge(own.part(left_out))
        values = judged.probability, judged.threshold, judged.certain_from, judged.scope_limit
        for column, value in zip(columns, values, strict=True):
            column[left_out] = value
    return Judged(*columns)


def _log_losses(labels: NDArray[np.int32], probability: Floats) -> Floats:
    return -np.log(np.clip(np.where(labels == 1, probability, 1 - probability), 1e-12, 1))


def figures_of(answers: Judged, own: Scored) -> dict[str, Any]:
    """Shares with their intervals over patients, the calibration error at the hospital's own prevalence, log loss."""
    # Each image has thresholds of its own fold: shifted by them, one limit holds for all.
    low, gap = answers.probability - answers.threshold, answers.certain_from - answers.threshold
    called, certain = low >= 0, low >= gap
    labels = np.where(called, np.where(certain, 1.0, 0.5), 0.0)
    found = decided(own.labels, labels, 0.25, 0.75)
    sick, well = own.labels == 1, own.labels == 0
    patients = np.array(own.patients)
    shares = {
        "recall": bootstrapped_mean(called[sick].astype(np.float64), patients[sick].tolist()),
        "specificity": bootstrapped_mean((~called)[well].astype(np.float64), patients[well].tolist()),
        **found,
    }
    if own.elsewhere is not None:
        refused = (own.elsewhere > answers.scope_limit).astype(np.float64)
        shares["refused"] = bootstrapped_mean(refused, own.patients)
    return {name: each.to_json() for name, each in shares.items()} | {
        "ece": expected_calibration_error(own.labels, answers.probability),
        "log_loss": float(_log_losses(own.labels, answers.probability).mean()),
    }


def _write(original: Bundle, own: Scored, report: dict[str, Any], out: Path) -> None:
    """Changes a copy to one side, which takes its place when it is whole."""
    choice = Choice.of(original, own)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as beside:
        copy = Path(beside) / out.name
        shutil.copytree(original.folder, copy)
        opened = Bundle.open(copy)
        chosen = Path(beside) / "calibration.json"
        metrics = opened.manifest.training["metrics"]
        write_json(
            chosen,
            {
                "bundle": opened.digest,
                "calibration": choice.calibration.to_json(),
                "operating_points": choice.points,
                "metrics": metrics,
            },
        )
        recalibrate(opened, chosen)
        with changing(Bundle.open(copy)) as (_, values):
            values["version"] = f"{original.manifest.version}+adapted"
            values["training"] = {**values["training"], "adapted": report}
            scope = original.manifest.gate.scope if original.manifest.gate else None
            if scope and choice.scope_limit > scope.threshold:
                chosen_on = (
                    f"{len(own.labels)} radiographs of the hospital adapted to: {FALSE_REFUSALS:.1%} are refused"
                )
                values["gate"]["scope"] |= {"threshold": choice.scope_limit, "chosen_on": chosen_on}
        copy.replace(out)
