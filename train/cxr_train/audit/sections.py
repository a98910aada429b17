"""The page's sections on what the bundle answers, made of ``audit.json`` alone; `grounds` has those on why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_train.audit.grounds import evidence, gate, originals, shortcuts
from cxr_train.audit.section import Section, Things
from cxr_train.audit.tables import (
    NOTHING,
    Audit,
    Cell,
    Column,
    Table,
    count,
    dig,
    facts,
    listing,
    long,
    number,
    percent,
    reading,
    share,
    short,
    with_interval,
)


def sections(audits: Sequence[Audit]) -> Iterator[Section]:
    """Gives the sections in order.

    Args:
        audits: The audit itself, then those beside it.
    """
    parts = (_verdict, _discrimination, _reliability, _probes, _markers, evidence, shortcuts, gate, originals)
    return (part(audits) for part in parts)


def _verdict(audits: Sequence[Audit]) -> Section:
    judged = [{bar["what"]: bar for bar in audit["bars"]} for audit in audits]
    own = list(judged[0].values())
    missed = [bar["what"] for bar in own if bar["met"] is False]
    unknown = sum(bar["met"] is None for bar in own)
    lead = f"{sum(bar['met'] is True for bar in own)} of {len(own)} bars are met, {len(missed)} missed"
    lead += f", {unknown} not measured here." if unknown else "."
    rows = [
        [Cell(bar["what"]), Cell(bar["limit"]), *(_judged(each.get(bar["what"])) for each in judged)] for bar in own
    ]
    table = Table("Every bar with its figure", ["bar", "required", *(audit["name"] for audit in audits)], rows)
    return Section("Verdict", [lead, *([f"Missed: {'; '.join(missed)}."] if missed else [])], [table])


def _judged(bar: Mapping[str, Any] | None) -> Cell:
    if bar is None or bar["met"] is None:
        return Cell("not measured")
    return Cell(f"✓ {bar['shown']}", "met") if bar["met"] else Cell(f"✗ {bar['shown']}", "missed")


def _discrimination(audits: Sequence[Audit]) -> Section:
    def points(audit: Audit) -> Things:
        for name, point in audit["discrimination"]["points"].items():
            yield f"{name}{' (shipped)' if point['shipped'] else ''}", point

    def groups(audit: Audit) -> Things:
        return ((f"{each['by']}, {each['name']}", each) for each in audit["discrimination"]["groups"])

    def overall(name: str) -> Any:
        return lambda audit: with_interval(next(iter(audit["discrimination"]["points"].values()))["metrics"][name])

    by_point = [
        Column("threshold", reading(long, "threshold")),
        Column("recall", reading(with_interval, "metrics", "recall"), compared=True),
        Column("specificity", reading(with_interval, "metrics", "specificity"), compared=True),
        Column("missed", reading(count, "confusion", 1, 0)),
        Column("false alarms", reading(count, "confusion", 0, 1)),
        Column("accuracy", reading(with_interval, "metrics", "accuracy")),
    ]
    by_group = [
        Column("images", reading(count, "images")),
        Column("patients", reading(count, "patients")),
        Column("AUROC", reading(with_interval, "auroc"), compared=True),
        Column("recall", reading(with_interval, "recall"), compared=True),
        Column("specificity", reading(with_interval, "specificity"), compared=True),
    ]
    whole = {
        "AUROC": overall("auroc"),
        "area under precision and recall": overall("auprc"),
        "Brier score": overall("brier"),
    }
    note = audits[0]["discrimination"]["note"]
    return Section(
        "Discrimination",
        [
            f"A probability from the threshold on is called positive. Every interval: {audits[0]['interval']}.",
            "A group with images of one class only is set against all images of the other class for its AUROC.",
            *([note] if note else []),
        ],
        [
            facts("Over all thresholds", audits, whole),
            listing("By operating point", "operating point", by_point, audits, points),
            listing("By group, at the shipped operating point", "group", by_group, audits, groups),
        ],
        {"roc.png": "Receiver operating characteristic"},
    )


def _reliability(audits: Sequence[Audit]) -> Section:
    rows = {"expected calibration error": reading(with_interval, "reliability", "ece")}
    for label in audits[0]["data"]["images"]:
        rows[f"mean stated probability, {label}"] = reading(number, "reliability", "mean_stated", label)
    lead = "Of the images with a stated probability near 0.8, eight in ten should be positive: dots on the diagonal."
    lead += " The error depends on how many images of each class there are."
    figures = {"reliability.png": "Reliability diagram"}
    return Section("Calibration", [lead], [facts("Stated and observed", audits, rows)], figures)


def _outcomes(audits: Sequence[Audit], *, title: str, caption: str, keys: tuple[str, ...]) -> Table:
    positive = audits[0]["bundle"]["positive"]
    negative = next(label for label in audits[0]["data"]["images"] if label != positive)
    others = [name for name, point in audits[0]["discrimination"]["points"].items() if not point["shipped"]]
    gated = audits[0]["gate"]["threshold"] is not None
    columns = [
        Column("labels that flip", reading(share, "flips"), compared=True),
        Column(f"to {positive}", reading(percent, "to_positive")),
        Column(f"to {negative}", reading(percent, "to_negative")),
        Column("log-odds move by", reading(short, "moved", "value"), compared=True),
        Column("AUROC then", reading(number, "auroc"), compared=True),
        *(Column(f"flip at {name}", reading(percent, "flips_at", name)) for name in others),
        *([Column("refused", reading(percent, "refused"))] if gated else []),
    ]
    return listing(
        caption, title, columns, audits, lambda audit: ((each["name"], each) for each in dig(audit, *keys) or ())
    )


def _probes(audits: Sequence[Audit]) -> Section:
    lead = "None of these changes takes away what a reader would look at, so none should change the answer. Each was"
    lead += (
        " applied to every radiograph at the network's input size; log-odds are those of the calibrated probability."
    )
    lead += " What lies outside of the lungs was replaced on radiographs with a lung mask, a margin left standing."
    return Section(
        "Harmless changes",
        [lead],
        [_outcomes(audits, title="change", caption="Every probe, at the shipped operating point", keys=("probes",))],
        {"probes.png": "Labels that flip and how far the log-odds move, with 95 % intervals"},
    )


def _markers(audits: Sequence[Audit]) -> Section:
    rows = {"flip with at least one of the eight": reading(share, "markers", "any_flip")}
    for label in audits[0]["data"]["images"]:
        rows[f"worst placement, {label}"] = _worst(label)
    for label in audits[0]["data"]["images"]:
        rows[f"images that show what looks like a marker, {label}"] = reading(count, "markers", "found", label)
    rows["flip when that is erased"] = reading(share, "markers", "erased", "flips")
    lead = "A letter was pasted into each corner of every radiograph of both classes. What looks like a burnt-in letter"
    lead += " (small, bright, sharply bounded, near the border, outside of the lungs: a rule of thumb that"
    lead += " also finds clips and tubes) was painted over."
    table = _outcomes(audits, title="letter", caption="Pasted letters", keys=("markers", "pasted"))
    return Section("Side markers", [lead], [facts("Markers in and out", audits, rows), table])


def _worst(label: str) -> Any:
    def show(audit: Audit) -> str:
        flips = [dig(each, "flips_in", label) for each in audit["markers"]["pasted"]]
        return NOTHING if None in flips else percent(max(flips))

    return show
