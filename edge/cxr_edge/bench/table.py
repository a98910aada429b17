"""The report for people."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_edge.bench.cases import Case, counted
from cxr_edge.bench.compare import Comparison, Ratio
from cxr_edge.bench.measure import Figures
from cxr_edge.bench.report import Report
from cxr_edge.text import printable

_NAMES: dict[str, Callable[[Case], object]] = {
    "task": lambda case: case.task,
    "scope": lambda case: case.scope,
    "provider": lambda case: case.provider,
    "threads": lambda case: case.threads,
    "prec.": lambda case: case.precision,
    "batch": lambda case: case.batch_size,
}
_ALWAYS = {"task", "scope", "prec.", "batch"}
_SCOPES = {
    "session": "session: from ready inputs in memory to the numbers",
    "file": "file: from a file in the disk cache to its record",
    "process": "process: cxr-edge predict FILE, all of it",
}
Row = TypeVar("Row", Figures, Ratio)
_VERDICTS = {"quicker": "green", "slower": "bold red", "same": "dim"}


def show(report: Report, console: Console, *, reasons: dict[str, str]) -> None:
    """Print where the figures come from, the figures, and what they mean.

    Args:
        report: The report.
        console: Where to.
        reasons: Why each provider is the one that computes.
    """
    cases, environment = list(report.figures), report.environment
    names = _columns(cases)
    console.print(Text(printable(environment.machine)), soft_wrap=True)
    bundle, versions = report.bundle, {"Python": environment.python, **environment.packages}
    same = cases[0]
    parts = [f"{bundle['name']} {bundle['version']} ({bundle['sha256'][:12]})"]
    if "threads" not in names:
        parts.append(counted(same.threads, "thread"))
    providers = dict.fromkeys(case.provider for case in cases)
    parts.append("on " + " and ".join(f"{provider} ({reasons[provider]})" for provider in providers))
    console.print(Text(printable(", ".join(parts))), soft_wrap=True)
    console.print(Text(", ".join(f"{name} {value}" for name, value in versions.items()), "dim"), soft_wrap=True)
    console.print(Text(f"measured with {report.inputs}\n"), soft_wrap=True)
    console.print(_table(names, ("p50", "p90", "p95", "p99", "per s", "runs", ""), report.figures.items(), _figures))
    console.print()
    for line in _notes(report):
        console.print(Text(line, "dim"), soft_wrap=True)
    if any(not figures.settled for figures in report.figures.values()):
        text = (
            f"* after {report.rule.max_windows} windows the last three still differed by more than"
            f" {report.rule.within:.0%}: not settled; close other programs, or take a longer --window"
        )
        console.print(Text(text, "yellow"), soft_wrap=True)
    if environment.busy:
        text = f"Other programs were running (load {environment.load:.1f}): these figures are too slow."
        console.print(Text(text, "bold yellow"), soft_wrap=True)


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print what has changed."""
    when = printable(comparison.before).replace("T", " ").replace("+00:00", " UTC")
    console.print(Text(f"\nNow / before, the run of {when}: latencies below 1 are quicker\n", "bold"))
    rows = [(ratio.case, ratio) for ratio in comparison.ratios]
    headings = ("before", "p50", "noise", "p99", "per s", "")
    console.print(_table(_columns([case for case, _ in rows]), headings, rows, _ratios))
    for sentence in comparison.differences:
        console.print(Text(printable(sentence), "yellow"), soft_wrap=True)
    for cases, what in (
        (comparison.only_before, "not measured this time"),
        (comparison.only_now, "not measured before"),
    ):
        if cases:
            console.print(Text(f"{counted(len(cases), 'case')} {what}", "dim"), soft_wrap=True)


def _table(
    names: list[str], headings: Iterable[str], rows: Iterable[tuple[Case, Row]], cells: Callable[[Row], list[Text]]
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in {"batch", "threads"} else "left")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if heading else "left")
    group = ""
    for case, row in rows:
        if group and case.task != group:
            table.add_row()
        group = case.task
        table.add_row(*(str(_NAMES[name](case)) for name in names), *cells(row))
    return table


def _columns(cases: list[Case]) -> list[str]:
    """Name the columns: what is the same in every line is said once, above."""
    return [name for name, value in _NAMES.items() if name in _ALWAYS or len({value(case) for case in cases}) > 1]


def _figures(figures: Figures) -> list[Text]:
    times = [Text(_three(value)) for value in (figures.p50, figures.p90, figures.p95, figures.p99)]
    times[0].stylize("bold")
    mark = Text("") if figures.settled else Text("*", "yellow")
    return [*times, Text(_three(figures.throughput)), Text(str(figures.runs)), mark]


def _ratios(ratio: Ratio) -> list[Text]:
    return [
        Text(_three(ratio.before.p50)),
        Text(f"{ratio.p50:.2f}", _VERDICTS[ratio.verdict]),
        Text(f"±{ratio.noise:.0%}"),
        Text(f"{ratio.p99:.2f}"),
        Text(f"{ratio.throughput:.2f}"),
        Text(ratio.verdict, _VERDICTS[ratio.verdict]),
    ]


def _notes(report: Report) -> list[str]:
    scopes = dict.fromkeys(case.scope for case in report.figures)
    lines = ["latency of a run in milliseconds; per s: radiographs a second", *(_SCOPES[scope] for scope in scopes)]
    if any(case.task in {"gradcam", "lime"} for case in report.figures):
        lines.append("gradcam, and lime from a file, include the prediction that they explain")
    if any(figures.runs < 100 for figures in report.figures.values()):
        lines.append("p99 of fewer than 100 runs is the slowest of them")
    return lines


def _three(value: float) -> str:
    """Three digits, never an exponent."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
