"""MODEL_CARD.md, written from what the training recorded (the sections of Mitchell et al. 2019)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cxr_edge.bundle.manifest import Manifest, OperatingPoint, ScopeDetector
from cxr_train.dataset import Dataset

_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "ece": "ECE",
    "brier": "Brier",
    "missed": "positives called negative (Wilson's interval)",
    "false_alarms": "negatives called positive (Wilson's interval)",
    "unsure": "UNSURE, of all (Wilson's interval)",
}
_VERDICTS = {True: "met", False: "**missed**", None: ""}


def model_card(manifest: Manifest, dataset: Dataset) -> str:
    """The card of a bundle in Markdown; every figure comes from the manifest."""
    training, calibration = manifest.training, manifest.calibration
    features, spec, points = manifest.features, manifest.input, manifest.operating_points
    negative = next(label for label in manifest.labels if label != manifest.positive)
    return f"""# {manifest.name} {manifest.version}

Calls a frontal chest radiograph {" or ".join(manifest.labels)} and explains the answer.

## Intended use
Research and teaching. **Not a medical device**: not for diagnosis, triage or any decision about a patient.
Meant for radiographs like those it was trained on: {dataset.population}.

## Network
- Architecture `{training.get("arch", "not recorded")}`, initial weights `{training.get("weights", "not recorded")}`.
- Input: grey pixels [N, {spec.height}, {spec.width}], 0 black to 255 white, squashed with a plain bilinear resize.
- Output: log-odds, calibrated probability of {manifest.positive}, and the last feature map
  [N, {features.height}, {features.width}, {features.channels}] that Grad-CAM starts from.
- Licence: {manifest.licence}.

## Training
- Data: {dataset.name}. Licence {dataset.licence}. Cite: {dataset.citation}.
- Radiographs: {json.dumps(_counts(training.get("data", {})))}.
- Command, run with seed {training.get("seed", "not recorded")}:

      {training.get("command", "not recorded")}

- Recipe: `{json.dumps(training.get("recipe", "not recorded"))}`

## Measured
{_adapted(training)}{_metrics(training["metrics"])}{_audit(manifest)}
## Calibration and operating points
probability = sigmoid({calibration.scale:.4f} · log-odds + {calibration.bias:.4f}) ({calibration.method}), chosen on
{calibration.chosen_on}.{_prevalence(manifest)}

| operating point | {negative} below | {manifest.positive} from | promised | recall, specificity there |
|---|---|---|---|---|
{_points(manifest)}

Between the two thresholds the answer is UNSURE. Recall and specificity count it as {manifest.positive}; they are those
of the images that the thresholds were chosen on ({points.points[points.default].chosen_on}), not of new ones.
{_criteria(manifest)}
{_precisions(manifest)}{_gate(manifest)}{_lungs(manifest)}
## Limits
- Whose radiographs: {dataset.population}. Nothing is known about other ages, hospitals or devices.
{_scope(manifest)}
- Labels: {dataset.labelling}.
- Two classes: other diseases{_images(manifest)} get one of the two labels too.
- A probability is calibrated on images like those above.
- Saliency maps show what moves the network's answer. They do not localise disease, and a plausible map is no proof
  of a right answer (Arun et al. 2021; Saporta et al. 2022).

`golden.npz` holds a few radiographs of the training data's test folder, under that data's licence, with Keras' answers
to them and the other networks' by ONNX Runtime: `cxr-edge verify` compares them with this machine's.
"""


def _scope(manifest: Manifest) -> str:
    """What answers to DICOM files are held against; the rule itself is `cxr_edge.prediction.gate`."""
    if manifest.scope is None:
        return "- Answers carry a warning where a DICOM file states another modality, body part or a lateral view."
    limits = {
        "PatientAge (0010,1010)": " to ".join(f"{age:g}" for age in manifest.scope.ages),
        "ViewPosition (0018,5101)": ", ".join(manifest.scope.views),
        "BodyPartExamined (0018,0015)": ", ".join(manifest.scope.body_parts),
    }
    stated = "; ".join(f"{tag}: {limit}" for tag, limit in limits.items() if limit)
    return (
        f"- Answers carry a warning where a DICOM file states anything else than {stated}; or another Modality\n"
        "  (0008,0060) than radiography. A file that states nothing, such as a JPEG, gets none: who asks has to know."
    )


def _counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of files do not belong on a card; how many there are does."""
    return {name: len(value) if isinstance(value, list) else value for name, value in data.items()}


def _metrics(metrics: Mapping[str, Any]) -> str:
    out = []
    for split, result in metrics.items():
        images = ", ".join(f"{count} {label}" for label, count in result["images"].items())
        out.append(
            f"### {split}: {images}, {result['patients']} patients, operating point {result['operating_point']}\n"
            f"| figure | value | interval ({result['interval']}) |\n|---|---|---|"
        )
        for name, figure in result["metrics"].items():
            if figure["value"] is not None:
                value, low, high = figure["value"], figure["low"], figure["high"]
                out.append(f"| {_NAMES.get(name, name)} | {value:.4f} | {low:.4f} to {high:.4f} |")
        for name, figure in result.get("decided", {}).items():
            out.append(f"| {_NAMES[name]} | {figure['value']:.4f} | {figure['low']:.4f} to {figure['high']:.4f} |")
        if at := result.get("ece_at_prevalence"):
            out.append(f"| ECE at a prevalence of {at['prevalence']:.3f} | {at['ece']:.4f} | |")
        out.append("")
    return "\n".join(out)


def _adapted(training: Mapping[str, Any]) -> str:
    """What an adaptation to a hospital brought; the figures of the training below it are those of before."""
    report = training.get("adapted")
    if report is None:
        return ""
    before, after = report["as_it_is"], report["adapted"]
    rows = "\n".join(
        f"| {_NAMES.get(name, name)} | {_estimate(before[name])} | {_estimate(after[name])} |"
        for name in before
        if isinstance(before[name], Mapping)
    )
    patients = " and ".join(f"{count} {label}" for label, count in report["patients"].items())
    return f"""### Adapted to a hospital: {report["radiographs"]} radiographs of {patients} patients
{report["method"]}. Figures below this table are those of version \
{report["bundle"]["version"]} where it was trained.

| figure | as it was | adapted |
|---|---|---|
{rows}
| ECE | {before["ece"]:.4f} | {after["ece"]:.4f} |
| log loss | {before["log_loss"]:.4f} | {after["log_loss"]:.4f} |

"""


def still_true(manifest: Manifest, audit: Mapping[str, Any]) -> bool:
    """Whether the networks that an audit looked at are those of a bundle."""
    return all(
        name in manifest.files and manifest.files[name].sha256 == sha256 for name, sha256 in audit["files"].items()
    )


def _audit(manifest: Manifest) -> str:
    audit = manifest.audit
    if audit is None:
        return ""
    data = audit["data"]
    images = ", ".join(f"{count} {label}" for label, count in data["images"].items())
    stale = (
        "" if still_true(manifest, audit) else "**The networks were changed after this audit: audit them again.**\n\n"
    )
    bars = "\n".join(
        f"| {bar['what']} | {bar['limit']} | {bar['shown']} | {_VERDICTS[bar['met']]} |" for bar in audit["bars"]
    )
    points = "\n".join(
        f"| {name} | {_estimate(found['recall'])} | {_estimate(found['specificity'])} |"
        for name, found in audit["points"].items()
    )
    return f"""
## Audit
{stale}{audit["precision"]} on {data["split"]} ({images}, {data["patients"]} patients), {audit["date"]}; nothing was \
chosen on these images by the audit. Command:

      {audit["command"]}

| what | required | measured | |
|---|---|---|---|
{bars}

| operating point | recall | specificity |
|---|---|---|
{points}

Intervals: {audit["interval"]}.
"""


def _estimate(figure: Mapping[str, float | None]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    return "not measured" if value is None else f"{value:.4f} ({low:.4f} to {high:.4f})"


def _prevalence(manifest: Manifest) -> str:
    stated = manifest.calibration.prevalence
    if stated is None:
        return " It holds at equal prevalence of both classes."
    return f"\nIt takes for granted that {stated:.1%} of the patients have {manifest.positive}; see `--prevalence`."


def _points(manifest: Manifest) -> str:
    return "\n".join(
        f"| {name}{' (default)' if name == manifest.operating_points.default else ''} | {point.threshold:.4f} "
        f"| {point.upper:.4f} | {_promise(point)} | {point.recall:.4f}, {point.specificity:.4f} |"
        for name, point in manifest.operating_points.points.items()
    )


def _promise(point: OperatingPoint) -> str:
    if not point.guarantee:
        return "nothing"
    missed, alarms = point.guarantee["missed_at_most"], point.guarantee["false_alarms_at_most"]
    return (
        f"with {point.guarantee['confidence']:.0%} confidence at most {missed:.1%} missed, {alarms:.1%} called in error"
    )


def _criteria(manifest: Manifest) -> str:
    return "\n".join(f"- {name}: {point.criterion}." for name, point in manifest.operating_points.points.items())


def _images(manifest: Manifest) -> str:
    return " and foreign bodies" if manifest.gate else ", foreign bodies and images that are no chest radiograph"


def _gate(manifest: Manifest) -> str:
    if manifest.gate is None:
        return ""
    return f"""
## What is refused
Inputs that score above {manifest.gate.threshold:.4f} get no label. Score: {manifest.gate.method}.
Threshold chosen on {manifest.gate.chosen_on}. It may let pass what merely resembles a chest radiograph.
{_elsewhere(manifest.gate.scope) if manifest.gate.scope else ""}"""


def _elsewhere(scope: ScopeDetector) -> str:
    every = (scope.measured.get(name, {}) for name in ("refused", "labelled", "labelled_unseen"))
    refused, labelled, unseen = ("; ".join(f"{kind} {share:.1%}" for kind, share in each.items()) for each in every)
    return f"""
Chest radiographs from elsewhere get no label either: those whose log-odds of not being like the training radiographs
lie above {scope.threshold:.3f}. Model: {scope.method}. Threshold chosen on {scope.chosen_on}.
It learned a few sources. It is no meter of age, and a hospital that resembles the training hospital may pass.
- Held-out radiographs and their copies that are refused: {refused}.
- Given a label, of patients of the same source that it did not learn from: {labelled}.
- Given a label, of a source that it learned nothing from: {unseen}.
"""


def _precisions(manifest: Manifest) -> str:
    return "".join(_precision(name, entry.loss) for name, entry in manifest.precisions.items() if entry.loss)


def _precision(name: str, loss: dict[str, Any]) -> str:
    auroc = f", AUROC {loss['auroc_difference']:+.4f}" if loss["auroc_difference"] is not None else ""
    return f"""
## {name}
Against float32 on {loss["images"]} radiographs ({loss["measured_on"]}): {loss["label_agreement"]:.2%} same labels,
log-odds off by {loss["mean_logodds_error"]:.3f} on average and {loss["max_logodds_error"]:.3f} at most{auroc}.
"""


def _lungs(manifest: Manifest) -> str:
    if manifest.lungs is None:
        return ""
    training = manifest.lungs.training
    rows = "\n".join(
        f"| {name} | {found['images']} | {found['dice']['value']:.4f} "
        f"| {found['dice']['low']:.4f} to {found['dice']['high']:.4f} |"
        for name, found in training.get("metrics", {}).get("validation", {}).items()
    )
    return f"""
## Lungs
A second, small network outlines the lungs (the area behind the heart among them), so that an explanation can say how
much of the evidence lies in them. Mean Dice coefficient with outlines that people drew, on
{manifest.lungs.measured_on}: {manifest.lungs.dice:.4f}. It outlines what it learned from children's radiographs; where
the result cannot be a pair of lungs, no share is given.

| radiographs | how many | Dice | 95 % interval, patients drawn |
|---|---|---|---|
{rows}

Command, run with seed {training.get("seed", "not recorded")}:

    {training.get("command", "not recorded")}
"""
