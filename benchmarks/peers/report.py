"""The tables of `RESULTS.md`."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.machine import Machine
from peers.by_openvino import BARE
from peers.contests import FAST, FAST_TUNED, OURS, REFERENCE, TUNED, Contest
from peers.peer import Skipped
from rounds import Ratio

_MARK = "<!-- machine: "
_PACKAGES = (
    *("numpy", "onnxruntime", "openvino", "keras", "tensorflow-cpu", "ai-edge-litert", "torch", "captum", "lime"),
    *("dianna", "shap", "ncnn", "mnn"),
)


@dataclass(frozen=True)
class Bar:
    """What was to be reached.

    Attributes:
        what: The claim.
        asked: The bar.
        measured: What was found; None where the peer is not there.
        met: Whether it was reached.
    """

    what: str
    asked: str
    measured: str | None
    met: bool

    def row(self) -> list[str]:
        """A row of the table."""
        return [
            self.what,
            self.asked,
            self.measured or "not measured",
            ("yes" if self.met else "**no**") if self.measured else "-",
        ]


def faster(contest: Contest, peer: str, least: float, what: str, ours: str | None = None) -> Bar:
    """Ours has to be so many times faster."""
    ours = ours or contest.ours
    both = {peer, ours} <= contest.seconds.by_name.keys()
    ratio = contest.faster(peer, ours) if both else None
    asked = f"at least {least:g} times faster"
    return Bar(what, asked, None if ratio is None else f"{ratio} times", ratio is not None and ratio.median >= least)


def no_slower(contest: Contest, peer: str, most: float, what: str, ours: str | None = None) -> Bar:
    """Ours may take at most so much of the peer's time."""
    ours = ours or contest.ours
    if not {peer, ours} <= contest.seconds.by_name.keys():
        return Bar(what, f"at most {most:g} of its time", None, met=False)
    ratio = Ratio.of(contest.seconds, ours, peer)
    return Bar(what, f"at most {most:g} of its time", f"{ratio} of its time", ratio.median <= most)


def no_slower_than_any(contest: Contest, most: float, what: str) -> Bar:
    """Ours as tuned may take at most so much of the time of the quickest peer at its own defaults."""
    times = contest.seconds
    peers = [name for name in times.by_name if name not in {OURS, TUNED, BARE}]
    asked = f"at most {most:g} of its time"
    if TUNED not in times.by_name or not peers:
        return Bar(what, asked, None, met=False)
    quickest = min(peers, key=times.median)
    ratio = Ratio.of(times, TUNED, quickest)
    return Bar(what, asked, f"{ratio} of the time of {quickest}", ratio.median <= most)


def bars(predict: Contest, many: Contest, gradcam: Contest, lime: Contest) -> list[Bar]:
    """What the peers are measured for."""
    return [
        no_slower_than_any(predict, 1.0, "predict as tuned, batch 1, against the quickest peer"),
        no_slower_than_any(many, 1.0, "predict as tuned, batch 8, against the quickest peer"),
        no_slower(predict, BARE, 1.05, "predict as tuned, batch 1, against a bare OpenVINO of the same network", TUNED),
        no_slower(many, BARE, 1.05, "predict as tuned, batch 8, against the same", TUNED),
        no_slower(predict, "OpenVINO Runtime", 1.0, "predict, batch 1, against OpenVINO Runtime on the same ONNX file"),
        faster(predict, "Keras `predict`", 8, "predict, batch 1, against `keras.Model.predict`"),
        faster(predict, "Keras, compiled function", 2, "predict, batch 1, against the compiled Keras function"),
        faster(gradcam, "Keras `predict`", 10, "predict + Grad-CAM against Keras with `GradientTape`"),
        faster(lime, "`lime` on ONNX Runtime", 14, "LIME, fast mode, fp32, against `lime` on ONNX Runtime"),
        faster(lime, "`lime` on ONNX Runtime", 30, "LIME, fast mode, as tuned, against the same", FAST_TUNED),
        faster(lime, "Keras `predict`", 30, "LIME, fast mode, fp32, against `lime` on Keras"),
        faster(lime, "Keras `predict`", 60, "LIME, fast mode, as tuned, against the same", FAST_TUNED),
        faster(lime, "DIANNA, LIME", 10, "LIME, fast mode, against DIANNA at 1000 samples"),
        faster(lime, "DIANNA, RISE", 10, "LIME, fast mode, against DIANNA's RISE at 1000 masks"),
    ]


def contest_rows(contest: Contest) -> list[list[str]]:
    """Median, ratio and agreement of each competitor."""
    unit, factor = ("s", 1.0) if contest.seconds.median(contest.ours) > 0.1 else ("ms", 1e3)
    rows = []
    for name in contest.seconds.by_name:
        median = f"{factor * contest.seconds.median(name) / contest.per:.2f} {unit}"
        ratio = "1" if name == contest.ours else str(contest.faster(name))
        rows.append([name, median, ratio, contest.agreement.get(name, "")])
    return rows


def heading(machine: Machine, bundle: Bundle, skipped: Sequence[Skipped], when: str, command: str) -> list[str]:
    """What the figures belong to."""
    lines = [
        f"# Side by side: {kind_of(machine)}",
        "",
        (
            f"Written by `{command}` on {when}; not edited. Competitors take turns in one process, so that a busy "
            "machine slows all of them alike; a ratio is the median over the rounds of the ratio within a round, with "
            "its range from 10 % to 90 % in brackets (smallest to largest with fewer than ten rounds). All compute the "
            "same network: the bundle's weights were put into Keras, LiteRT and PyTorch, and every answer was held to "
            "ours before anything was timed. The gate is off, as no peer has one."
        ),
        "",
        f"- machine: {machine}; load before: {machine.load}",
        f"- bundle: {bundle.manifest.name} {bundle.manifest.version}, {bundle.digest}",
        f"- versions: Python {platform.python_version()}, {', '.join(_versions())}",
    ]
    return [*lines, *(f"- skipped: {each.name}: {each.reason}" for each in skipped), ""]


def kind_of(machine: Machine) -> str:
    """Name the kind of a machine: figures of two kinds are never put into one table."""
    sets = ", ".join(machine.instruction_sets or ()) or "instruction sets unknown"
    return f"{machine.processor} ({sets}), {machine.usable_cores} cores"


def with_section(before: str, kind: str, lines: Sequence[str]) -> str:
    """Put the section of a kind of machine into the text of RESULTS.md; those of other kinds stay as they are.

    Args:
        before: The text as it is; sections of a release that had only one are dropped.
        kind: From `kind_of`.
        lines: The new section.
    """
    sections = {}
    for part in before.split(_MARK)[1:]:
        name, _, text = part.partition(" -->\n")
        sections[name] = text.strip()
    sections[kind] = "\n".join(lines).strip()
    return "\n\n".join(f"{_MARK}{name} -->\n{sections[name]}" for name in sorted(sections)) + "\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def lime_note() -> str:
    """What the three modes are."""
    return (
        f"{FAST}: its default, which correlates with the converged explanation as `lime` does at 1000 samples "
        f"(`python benchmarks/lime_fidelity.py`). {REFERENCE}: what the `lime` package computes, sample for sample."
    )


def _versions() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
