"""The acceptance test of a hospital: may this bundle be used on its radiographs? One page, one JSON, one verdict."""

from __future__ import annotations

import base64
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from cxr_edge.api import Model, load
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.explanation.figures import draw
from cxr_edge.files import write_atomically
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.outcomes import Answer, Failure, attempt
from cxr_edge.results.record import RESEARCH_USE
from cxr_train.audit.record import plain
from cxr_train.dataset import LABELS, patient_of
from cxr_train.metrics import (
    Estimate,
    bootstrapped,
    bootstrapped_mean,
    decided,
    expected_calibration_error,
    proportion,
)
from cxr_train.runs import write_json

FEWEST = 30
"""Patients of each label below which there is no verdict: the interval of a share is then wider than 10 points."""
REFUSED, AUROC, MISSED, ALARMS, ECE = 0.1, 0.9, 0.05, 0.1, 0.05
"""Limits of the verdict: share refused, area under the curve, PNEUMONIA called NORMAL, NORMAL called PNEUMONIA, and the
error of the calibration. Of the first three the end of the 95 % interval is held against them."""
_WORST = 6
_RULE = (
    f"Fewer than {FEWEST} patients of a label: too few for a verdict. Not fit: certainly more than {REFUSED:.0%} of the"
    f" radiographs are refused, or the AUROC is not certainly {AUROC:g} or more. Fit: moreover certainly at most"
    f" {MISSED:.0%} of PNEUMONIA are called NORMAL, at most {ALARMS:.0%} of NORMAL are called PNEUMONIA, and the"
    f" calibration error is at most {ECE:g}. Else fit after recalibration."
)


@dataclass(frozen=True)
class Labelled:
    """A file of the hospital with what it is known to show.

    Attributes:
        path: Where it lies.
        label: 0 for NORMAL, 1 for PNEUMONIA.
        patient: Files with the same value show the same patient.
    """

    path: Path
    label: int
    patient: str


def find_labelled(data: Path, *, names: Sequence[str] = LABELS) -> list[Labelled]:
    """Lists the radiographs of a hospital.

    Args:
        data: A folder with one folder a label; or a CSV file with the columns ``file`` (relative to it) and ``label``,
            and perhaps ``patient``.
        names: What the hospital calls NORMAL and PNEUMONIA.

    Raises:
        UsageError: There is no such folder or file, a column is missing, or a label has no radiograph.
    """
    found = list(_from_csv(data, names) if data.suffix.lower() == ".csv" else _from_folders(data, names))
    counts = Counter(each.label for each in found)
    for value, name in enumerate(names):
        if not counts[value]:
            raise UsageError(f"{data}: no radiograph of the label {name}; both labels are needed")
    return found


def _from_folders(data: Path, names: Sequence[str]) -> Iterator[Labelled]:
    for value, name in enumerate(names):
        if not (data / name).is_dir():
            raise UsageError(f"{data}: has no folder {name}; expected {' and '.join(names)} in it, or a CSV file")
        for path in Discovery((data / name,), ordered=True).find():
            if isinstance(path, Path):
                yield Labelled(path, value, patient_of(path.name)[0])


def _from_csv(table: Path, names: Sequence[str]) -> Iterator[Labelled]:
    try:
        rows = list(csv.DictReader(table.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read ({error})") from error
    for number, row in enumerate(rows, start=2):
        try:
            value = [name.casefold() for name in names].index((row["label"] or "").strip().casefold())
            path = table.parent / row["file"]
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(
                f"{table}: line {number}: expected the columns file and label, the label {' or '.join(names)} ({error})"
            ) from error
        yield Labelled(path, value, row.get("patient") or patient_of(path.name)[0])


def acceptance_test(*, bundle: Path | None, data: Path, out: Path, names: Sequence[str] = LABELS) -> dict[str, Any]:
    """Asks a bundle about every radiograph of a hospital and judges it there.

    Args:
        bundle: Its folder; None takes the one that comes with the package.
        data: See `find_labelled`.
        out: Folder for ``site.json`` and ``site.html``; made if it is missing.
        names: See `find_labelled`.

    Returns:
        What ``site.json`` says.

    Raises:
        UsageError: See `find_labelled`.
        OutputError: ``out`` cannot be written.
    """
    labelled = find_labelled(data, names=names)
    model = load(bundle)
    outcomes = [attempt(each.path, partial(model.predict, each.path)) for each in labelled]
    values = plain(judge(model, labelled, outcomes))
    pictures = [_picture(model, outcome) for outcome in _worst(labelled, outcomes)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "site.json", values)
        write_atomically(out / "site.html", _page(values, pictures).encode())
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error}); name another folder with --out") from error
    return values


def judge(model: Model, labelled: Sequence[Labelled], outcomes: Sequence[Answer | Failure]) -> dict[str, Any]:
    """Measures the answers to a hospital's radiographs, and gives the verdict with the rule that decided."""
    manifest = model.bundle.manifest
    pairs = [(each, one) for each, one in zip(labelled, outcomes, strict=True) if isinstance(one, Answer)]
    refusals = Counter(one.refusal.scope for _, one in pairs if one.refusal)
    kept = [(each, one) for each, one in pairs if not one.refusal]
    labels = np.array([each.label for each, _ in kept], np.int32)
    probability = np.array([one.probability for _, one in kept], np.float64)
    patients = [each.patient for each, _ in kept]
    refused = _share([bool(one.refusal) for _, one in pairs], [each.patient for each, _ in pairs])
    figures: dict[str, Any] = {}
    if len(set(labels.tolist())) == 2:
        rule, prevalence = model.classifier.rule, manifest.calibration.prevalence
        figures = {
            **bootstrapped(labels, probability, patients, rule.threshold),
            **decided(labels, probability, rule.threshold, rule.certain_from),
        }
        error = expected_calibration_error(labels, probability, prevalence=prevalence)
        figures["ece_at_prevalence"] = {"prevalence": prevalence, "ece": error}
    counts = {
        name: len({each.patient for each in labelled if each.label == value}) for value, name in enumerate(LABELS)
    }
    verdict, reasons = _verdict(counts, refused, figures)
    return {
        "schema": 1,
        "kind": "site",
        "bundle": model.bundle.to_json(),
        "operating_point": model.classifier.rule.operating_point,
        "verdict": verdict,
        "reasons": reasons,
        "rule": _RULE,
        "patients": counts,
        "radiographs": len(labelled),
        "failed": Counter(one.error.kind for one in outcomes if isinstance(one, Failure)),
        "refused": refused,
        "refused_as": refusals,
        "figures": figures,
        "evidence_in_lungs": _evidence(model, kept),
        "subgroups": _subgroups(kept, model),
        "expected_refusals": manifest.gate.scope.measured.get("refused", {})
        if manifest.gate and manifest.gate.scope
        else {},
    }


def _verdict(counts: Mapping[str, int], refused: Estimate, figures: Mapping[str, Any]) -> tuple[str, list[str]]:
    few = [f"{number} {label} patients" for label, number in counts.items() if number < FEWEST]
    if few:
        return "too few radiographs for a verdict", few
    against = []
    if refused.low > REFUSED:
        against.append(f"{refused.value:.1%} of the radiographs are refused (95 % interval from {refused.low:.1%})")
    if not figures:
        against.append("no radiograph of one of the labels is answered")
    elif figures["auroc"].low < AUROC:
        against.append(f"AUROC {figures['auroc'].value:.3f} (95 % interval from {figures['auroc'].low:.3f})")
    if against:
        return "not fit", against
    missed, alarms, ece = figures["missed"], figures["false_alarms"], figures["ece_at_prevalence"]["ece"]
    open_ = []
    if missed.high > MISSED:
        open_.append(f"{missed.value:.1%} of PNEUMONIA are called NORMAL (95 % interval up to {missed.high:.1%})")
    if alarms.value > ALARMS:
        open_.append(f"{alarms.value:.1%} of NORMAL are called PNEUMONIA")
    if ece > ECE:
        open_.append(f"the calibration error is {ece:.3f}")
    return ("fit after recalibration", open_) if open_ else ("fit", ["every limit is kept"])


def _share(hits: Sequence[bool], patients: Sequence[str]) -> Estimate:
    """A share of radiographs with its interval over patients; Wilson's where the bootstrap has no width."""
    if not hits:
        return Estimate(np.nan, np.nan, np.nan)
    if len(set(hits)) == 1:
        return proportion(len(set(patients)) * hits[0], len(set(patients)))
    return bootstrapped_mean(np.array(hits, np.float64), list(patients))


def _evidence(model: Model, kept: Sequence[tuple[Labelled, Answer]]) -> Estimate | None:
    """How much of what Grad-CAM shows of the PNEUMONIA patients lies in the lungs."""
    if model.explainer.lungs is None:
        return None
    found = []
    for each, one in kept:
        if each.label == 1:
            evidence = model.explainer.explain(one, method="gradcam", target=model.bundle.manifest.positive).evidence
            if evidence is not None and evidence.saliency is not None:
                found.append((each.patient, evidence.saliency))
    if not found:
        return None
    return bootstrapped_mean(np.array([share for _, share in found]), [patient for patient, _ in found])


def _subgroups(kept: Sequence[tuple[Labelled, Answer]], model: Model) -> list[dict[str, Any]]:
    """Recall and specificity by what the files state."""

    def age(one: Answer) -> str | None:
        years = one.radiograph.source.patient_age_years
        return None if years is None else "under 18" if years < 18 else "18 and older"

    facts: dict[str, Callable[[Answer], str | None]] = {
        "view": lambda one: one.radiograph.source.view_position,
        "modality": lambda one: one.radiograph.source.modality,
        "age": age,
    }
    out = []
    for by, fact in facts.items():
        for name in sorted({value for _, one in kept if (value := fact(one))}):
            group = [(each.label, one.probability) for each, one in kept if fact(one) == name]
            sick = [p >= model.classifier.rule.threshold for y, p in group if y == 1]
            well = [p < model.classifier.rule.threshold for y, p in group if y == 0]
            out.append(
                {
                    "by": by,
                    "name": name,
                    "radiographs": len(group),
                    "recall": proportion(sum(sick), len(sick)),
                    "specificity": proportion(sum(well), len(well)),
                }
            )
    return out


def _worst(labelled: Sequence[Labelled], outcomes: Sequence[Answer | Failure]) -> list[Answer]:
    """The answers that are furthest from the truth, missed PNEUMONIA first."""
    answered = [
        (each.label, one)
        for each, one in zip(labelled, outcomes, strict=True)
        if isinstance(one, Answer) and not one.refusal
    ]
    wrong = [(label, one) for label, one in answered if one.label == LABELS[1 - label]]
    wrong.sort(key=lambda pair: (-pair[0], pair[1].probability if pair[0] else -pair[1].probability))
    return [one for _, one in wrong[:_WORST]]


def _picture(model: Model, answer: Answer) -> dict[str, str]:
    explanation = model.explainer.explain(answer, method="gradcam")
    picture: NDArray[np.uint8] = next(image for name, image in draw(explanation) if name == "gradcam.png")
    _, data = cv2.imencode(".jpg", cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    path = answer.radiograph.source.path
    return {
        "name": path.name if path else "",
        "label": answer.label,
        "probability": f"{answer.probability:.3f}",
        "data": base64.b64encode(data.tobytes()).decode(),
    }


def _page(values: Mapping[str, Any], pictures: Sequence[Mapping[str, str]]) -> str:
    environment = Environment(loader=PackageLoader("cxr_train.audit"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("site.html.jinja").render(site=values, pictures=pictures, research_use=RESEARCH_USE)
