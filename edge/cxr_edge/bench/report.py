"""Everything that one call of ``cxr-edge bench`` found: as an object, as a file, and as a table for people."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_edge.bench.cases import Case, InputSummary, counted
from cxr_edge.bench.measure import Figures, Rule
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge.runtime.machine import Machine
from cxr_edge.text import printable

_SCHEMA = 1
_KIND = "cxr-edge bench"
_COLUMNS: dict[str, Callable[[Case], object]] = {
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
BenchPart = TypeVar("BenchPart")


@dataclass(frozen=True)
class MeasuredBundle:
    """Which bundle was measured.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        sha256: Of its manifest, in hexadecimal.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.sha256[:12]})"


@dataclass(frozen=True)
class BenchReport:
    """Figures with all that they depend on.

    Attributes:
        created: When, in UTC (ISO 8601).
        bundle: The bundle.
        machine: The machine and the versions.
        inputs: The radiographs.
        rule: When the figures counted as settled.
        figures: What was measured, in the order of the table.
    """

    created: str
    bundle: MeasuredBundle
    machine: Machine
    inputs: InputSummary
    rule: Rule
    figures: Mapping[Case, Figures]

    def to_json(self) -> dict[str, object]:
        """Give the report, schema 1."""
        return {
            "schema": _SCHEMA,
            "kind": _KIND,
            "created": self.created,
            "bundle": asdict(self.bundle),
            "environment": self.machine.to_json(),
            "inputs": self.inputs.to_json(),
            "rule": self.rule.to_json(),
            "results": [{**case.to_json(), **figures.to_json()} for case, figures in self.figures.items()],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "BenchReport":
        """Read what `to_json` gave.

        Raises:
            ValueError: A part is missing, of another type, or cannot be; the message names it.
        """
        if (kind := record.get("kind")) != _KIND:
            raise ValueError(f"kind {kind!r}")
        if (schema := record.get("schema")) != _SCHEMA:
            raise ValueError(f"schema {schema!r}, this version reads {_SCHEMA}")
        results = _part(record, "results", list[dict[str, Any]])
        if not results:
            raise ValueError("no results")
        lines = [({"case": each, "figures": each}, f" of result {number}") for number, each in enumerate(results, 1)]
        return cls(
            created=_part(record, "created", str),
            bundle=_part(record, "bundle", MeasuredBundle),
            machine=_part(record, "environment", Machine),
            inputs=_part(record, "inputs", InputSummary),
            rule=_part(record, "rule", Rule),
            figures={_part(each, "case", Case, of): _part(each, "figures", Figures, of) for each, of in lines},
        )


def _part(record: dict[str, Any], name: str, kind: type[BenchPart], of: str = "") -> BenchPart:
    if name not in record:
        raise ValueError(f"{name!r} is missing")
    try:
        return msgspec.convert(record[name], kind)
    except (msgspec.ValidationError, UsageError) as error:
        raise ValueError(f"{name}{of}: {str(error).replace('$.', '')}") from error


def read_report(path: Path) -> BenchReport:
    """Read a report that ``--out`` wrote.

    Raises:
        UsageError: The file is missing, is no such report, or was damaged.
    """
    cure = "name a file that cxr-edge bench --out wrote"
    try:
        record = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return BenchReport.from_json(record)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); {cure}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no report of a benchmark ({error}); {cure}") from error


def check_writable(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file that cannot or must not be written, before time is spent on its content.

    Args:
        path: Where to.
        inputs: Files that must not be replaced.

    Raises:
        UsageError: It is a folder, a link, a device or one of the inputs, or its folder is missing or may not be
            written to.
    """
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: cannot be written; name a file in a folder that is there and may be written to")
    try:
        there = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(there.st_mode):  # a link would be replaced, not followed; so would a device
        raise UsageError(f"{path}: cannot be written, since it is no regular file; name a new file")
    if any(path.samefile(each) for each in inputs):
        raise UsageError(f"{path}: is read by this command, and would be replaced; name another file")


def write(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing.

    Raises:
        OutputError: The disk is full, say.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room or name another file") from error


def show_report(report: BenchReport, console: Console, *, reasons: Mapping[str, str]) -> None:
    """Print where the figures come from, the figures, and what they mean.

    Args:
        report: The report.
        console: Where to.
        reasons: Why each provider is the one that computes.
    """
    cases, machine = list(report.figures), report.machine
    table = bench_table(report.figures.items(), ("p50", "p90", "p95", "p99", "per s", "runs", ""), _cells)
    parts = [str(report.bundle)]
    if "threads" not in {column.header for column in table.columns}:
        parts.append(counted(cases[0].threads, "thread"))
    providers = dict.fromkeys(case.provider for case in cases)
    parts.append("on " + " and ".join(f"{provider} ({reasons[provider]})" for provider in providers))
    versions = {"Python": machine.python, **machine.packages}
    print_line(console, str(machine))
    print_line(console, ", ".join(parts))
    print_line(console, ", ".join(f"{name} {value}" for name, value in versions.items()), "dim")
    print_line(console, f"measured with {report.inputs}")
    show_table(table, console)
    for line in _notes(report):
        print_line(console, line, "dim")
    if any(not figures.settled for figures in report.figures.values()):
        print_line(
            console,
            f"* after {report.rule.max_windows} windows the last three still differed by more than"
            f" {report.rule.within:.0%}: not settled; close other programs, or take a longer --window",
            "yellow",
        )
    if machine.busy:
        print_line(
            console, f"Other programs were running (load {machine.load:.1f}): these figures are too slow.", "yellow"
        )


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line as a whole, however narrow the terminal is."""
    console.print(Text(printable(line), style), soft_wrap=True)


def bench_table(
    rows: Iterable[tuple[Case, BenchPart]], headings: Iterable[str], cells: Callable[[BenchPart], Iterable[Text]]
) -> Table:
    """Lay out a table with a line for each case, and an empty line between two tasks.

    A column of the case that is the same in every line is left out, because it is said once, above the table.

    Args:
        rows: Each case with what is said about it.
        headings: Of the columns that follow those of the case.
        cells: Gives these columns' cells.
    """
    rows = list(rows)
    names = [name for name, value in _COLUMNS.items() if name in _ALWAYS or len({value(case) for case, _ in rows}) > 1]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in {"batch", "threads"} else "left")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if heading else "left")
    task = ""
    for case, row in rows:
        if task and case.task != task:
            table.add_row()
        task = case.task
        table.add_row(*(printable(str(_COLUMNS[name](case))) for name in names), *cells(row))
    return table


def show_table(table: Table, console: Console) -> None:
    """Print a table between empty lines; a terminal that is too narrow for it wraps its lines and loses nothing."""
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print()
    console.print(table)
    console.print()


def three_digits(value: float) -> str:
    """Write a number with three digits, never with an exponent."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def _cells(figures: Figures) -> list[Text]:
    latency = figures.latency_ms
    times = [Text(three_digits(value)) for value in (latency.p50, latency.p90, latency.p95, latency.p99)]
    times[0].stylize("bold")
    mark = Text("") if figures.settled else Text("*", "yellow")
    return [*times, Text(three_digits(figures.throughput_per_s)), Text(str(figures.runs)), mark]


def _notes(report: BenchReport) -> list[str]:
    scopes = dict.fromkeys(case.scope for case in report.figures)
    lines = ["latency of a run in milliseconds; per s: radiographs a second", *(_SCOPES[scope] for scope in scopes)]
    if any(case.task in {"gradcam", "lime"} for case in report.figures):
        lines.append("gradcam, and lime from a file, include the prediction that they explain")
    if any(figures.runs < 100 for figures in report.figures.values()):
        lines.append("p99 of fewer than 100 runs is the slowest of them")
    return lines
