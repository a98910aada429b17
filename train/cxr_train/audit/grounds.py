"""The page's sections on what the answers rest on: lungs, shortcuts, the gate, the size of the file."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_train.audit.section import Section, Things
from cxr_train.audit.tables import (
    NOTHING,
    Audit,
    Column,
    count,
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

_PARTS = {
    "Grad-CAM": "gradcam",
    "LIME's positive weight": "lime",
    "the lungs' share of the picture": "lungs",
    "a map that is how much of each cell is lung": "outline",
    "bound: the most that any map of such cells can have": "bound",
}


def evidence(audits: Sequence[Audit]) -> Section:
    """Where the evidence lies."""
    title, own = "Evidence inside the lungs", audits[0]["evidence"]
    if own is None:
        return Section(title, ["Not measured: no lung masks were given (--masks)."])
    tables = []
    for label, found in own.items():
        rows = {name: reading(share, "evidence", label, "means", part) for name, part in _PARTS.items()}
        rows["images whose Grad-CAM lies in the lungs less than chance would have it"] = reading(
            percent, "evidence", label, "below"
        )
        counted = f"{found['images']} images with a mask, LIME on {found['explained']}"
        tables.append(facts(f"Evidence for {label} in {label}: {counted}", audits, rows))
    hidden = {
        "AUROC with the lungs hidden": reading(number, "hidden", "auroc"),
        "log-odds move by": reading(short, "hidden", "moved", "value"),
    }
    tables.append(facts("The counter-test: a grey box over the lungs and a margin", audits, hidden))
    if audits[0]["outlines"]:
        rows = {"Dice coefficient": reading(with_interval, "outlines", "dice")}
        for label in own:
            rows[f"Grad-CAM inside the lungs as explain states it, {label}"] = reading(
                share, "outlines", "stated", label
            )
        rows["how far that is from the share inside the human mask"] = reading(share, "outlines", "off")
        rows["images in which explain finds no pair of lungs"] = reading(count, "outlines", "doubted")
        tables.append(facts("The bundle's own outline of the lungs against the human one", audits, rows))
    lead = "The share of the evidence for an image's own class on pixels that a human called lung, over all pixels that"
    lead += " the mask does not leave open. Evidence that knows nothing of lungs reaches the lungs' share of the"
    lead += " picture. A superpixel's weight is spread evenly over its pixels."
    bound = "Grad-CAM is a coarse map spread bilinearly over the picture, so it spills over every outline. A map with"
    bound += " weights m has the share \N{GREEK CAPITAL LETTER SIGMA} m·a / \N{GREEK CAPITAL LETTER SIGMA} m·b, a and b"
    bound += (
        " being what each cell's hat function puts on lung and on all counted pixels: a weighted mean of the ratios"
    )
    bound += (
        " a/b. The bound is the largest ratio, reached with all weight on the one cell that lies deepest in a lung,"
    )
    bound += " averaged over the images."
    test = "With the lungs hidden, an honest network tells the classes no better apart than chance, 0.5; what is left"
    test += " above that comes from outside, or from the place and size of the box."
    return Section(title, [lead, bound, test], tables, {"evidence.png": "Shares of the single images"})


def shortcuts(audits: Sequence[Audit]) -> Section:
    """What the score follows apart from what the image shows."""
    columns = [Column("AUROC of it alone", reading(number, "auroc"))]
    columns += [
        Column(f"correlation in {label}", reading(_correlation, "correlation", label), compared=True)
        for label in audits[0]["data"]["images"]
    ]

    def things(audit: Audit) -> Things:
        return ((each["attribute"], each) for each in audit["shortcuts"])

    lead = "Within one class the score should not follow what says nothing about the lungs. Spearman's rank correlation"
    lead += " with the log-odds; attributes that are the same in every file are left out."
    table = listing("Attributes and the score", "attribute", columns, audits, things)
    figure = "Correlation with the score within each class, and what the attribute alone would reach"
    return Section("Shortcuts", [lead], [table], {"shortcuts.png": figure})


def gate(audits: Sequence[Audit]) -> Section:
    """What is refused."""
    own = audits[0]["gate"]
    columns = [
        Column("pictures", reading(count, "pictures")),
        Column("not decoded", reading(count, "unreadable")),
        Column("refused", reading(count, "refused"), compared=True),
        Column("share (95 %, Wilson)", reading(share, "share")),
        Column("p > 0.9 without a gate", reading(count, "sure"), compared=True),
    ]

    def things(audit: Audit) -> Things:
        found = audit["gate"]
        every = [*found["radiographs"], found["all_radiographs"], *found["others"], found["all_others"]]
        return ((each["kind"], each) for each in every if each)

    lead, figures = ["This bundle has no gate: it answers every picture, a photograph as well."], {}
    if own["threshold"] is not None:
        lead = [f"Refused above a score of {own['threshold']:.4g}. Method: {own['method']}."]
        figures = {"gate.png": "Scores of radiographs and of other pictures"}
    if not own["others"]:
        lead.append("No other pictures were given (--others).")
    table = listing("At the gate", "kind", columns, audits, things)
    return Section("What is no chest radiograph", lead, [table], figures)


def originals(audits: Sequence[Audit]) -> Section:
    """Whether the size of the file changes the answer."""
    title = "Originals and copies"
    if audits[0]["originals"] is None:
        return Section(title, ["Not measured: no full-size originals were given (--originals)."])

    def same(audit: Audit) -> str:
        found = audit["originals"]
        return f"{found['same']} of {found['pairs']}" if found else NOTHING

    rows = {
        "called like their copies": same,
        "median difference of the probability": reading(long, "originals", "median"),
        "largest difference of the probability": reading(long, "originals", "largest"),
        "log-odds differ by": reading(number, "originals", "moved"),
    }
    lead = "The same radiograph at full size and as the copy in the data folder should get the same answer."
    return Section(title, [lead], [facts("Full size against the copy", audits, rows)])


def _correlation(figure: dict[str, float | None] | None) -> str:
    return with_interval(figure, short)
