"""``cxr-edge bench``: how fast is it here, and has that changed?"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import is_said, open_console, say

if TYPE_CHECKING:
    from cxr_edge.bench.compare import BenchComparison
    from cxr_edge.bench.report import BenchReport

_PLOT_SIZES = "1,2,4,8,16"


def bench(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=options.path,
            metavar="[FILE|FOLDER]...",
            help="Radiographs to measure with, at most 16 of them.",
            show_default="a synthetic JPEG",
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="LIST", help="Of predict, gradcam, lime, start (a whole process).")
    ] = "predict,gradcam,lime,start",
    scope: Annotated[
        str, typer.Option(metavar="LIST", help="session: ready input to numbers; file: file to its record.")
    ] = "session,file",
    precision: Annotated[
        str | None, typer.Option(metavar="LIST", help="Of fp32, int8, bf16.", show_default="fp32 and int8")
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Radiographs in a run of predict.", show_default=f"1,8; --plot {_PLOT_SIZES}"
        ),
    ] = None,
    provider: Annotated[
        str, typer.Option(metavar="LIST", help="Where to compute, such as cpu,cuda; see predict --help.")
    ] = "auto",
    threads: Annotated[
        str | None, typer.Option(metavar="LIST", help="Threads for one inference.", show_default="every usable core")
    ] = None,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Least length of a window; it holds 5 runs at least.")
    ] = 0.5,
    within: Annotated[
        float, typer.Option(metavar="PERCENT", help="A case ends when three windows in a row agree this closely.")
    ] = 10.0,
    max_windows: Annotated[int, typer.Option(metavar="N", help="Give up on agreement after so many.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON here.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="BEFORE", help="A file of --out: print now / before as well.", show_default=False),
    ] = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare with figures of another machine, too.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the latency of predict against batch size.", show_default=False),
    ] = None,
    bundle: options.BundleOption = None,
) -> None:
    """Measure latency and throughput of predictions and explanations on this machine.

    A LIST is separated by commas, and every combination is measured: runs are repeated until three windows in a row
    agree on latency and throughput. The default takes about a minute. Close other programs first.
    """
    if batch_size is None:
        batch_size = "1,8" if plot is None else _PLOT_SIZES
    sizes = _numbers("batch-size", batch_size)
    counts: tuple[int | None, ...] = (None,) if threads is None else _numbers("threads", threads)
    from cxr_edge.bench.cases import CaseSelection, SessionChoice, open_inputs
    from cxr_edge.bench.compare import check_machine, compare_reports
    from cxr_edge.bench.measure import Rule
    from cxr_edge.bench.plot import check_plot, draw_latency
    from cxr_edge.bench.report import check_writable, read_report, write
    from cxr_edge.bench.suite import Suite
    from cxr_edge.errors import UsageError
    from cxr_edge.runtime.machine import read_machine

    selection = CaseSelection(_words(task), _words(scope), sizes)
    rule = Rule(window=window, within=within / 100, max_windows=max_windows)
    sessions = SessionChoice(_words(provider), None if precision is None else _words(precision), counts)
    before = None if compare is None else read_report(compare)
    if plot is not None:
        check_plot(selection)
    outputs = [path for path in (out, plot) if path]
    for path in outputs:
        check_writable(path)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise UsageError(f"--out and --plot both name {out}; name two files")
    suite = Suite(sessions, selection, bundle=bundle)
    machine = read_machine(cuda="cuda" in suite.reasons)
    if machine.busy:
        say(f"Other programs are running (load {machine.load:.1f}); figures will be too slow.")
    if before and not across_machines:
        check_machine(before.machine, machine)
    with open_inputs(paths or []) as inputs, _progress() as progress:
        for path in outputs:
            check_writable(path, inputs=inputs.found)
        report = suite.run(inputs, machine, rule=rule, before_case=progress)
    comparison = compare_reports(before, report) if before else None
    record = report.to_json() | ({"comparison": comparison.to_json()} if comparison else {})
    text = dumps(record, indent=1, allow_nan=False) + "\n"
    try:
        if out is not None:
            write(out, text.encode("ascii"))
        if plot is not None:
            write(plot, draw_latency(report))
    finally:  # figures that took minutes are printed even where they cannot be written
        if json:
            typer.echo(text, nl=False)
        else:
            _show(report, comparison, suite.reasons)


def _show(report: "BenchReport", comparison: "BenchComparison | None", reasons: Mapping[str, str]) -> None:
    from cxr_edge.bench.compare import show_comparison
    from cxr_edge.bench.report import show_report

    console = open_console()
    if not console.is_terminal:
        console.width = 160  # lines in a file may be long
    show_report(report, console, reasons=reasons)
    if comparison:
        show_comparison(comparison, console)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in (part.strip() for part in text.split(",")) if word))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    words = _words(text)
    if not words or not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise typer.BadParameter(f"{text!r}; expected numbers from 1 on, such as 1,8", param_hint=f"--{option}")
    return tuple(dict.fromkeys(int(word) for word in words))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Say on a terminal what is being measured, and remove it in the end; elsewhere say nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (MofNCompleteColumn(), BarColumn(20), TextColumn("{task.description}"))
    console = open_console(stderr=True)
    shown_at_all = console.is_terminal and is_said("info")
    # Drawn between cases only: a thread that draws meanwhile would be measured as well.
    bar = Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not shown_at_all)
    with bar:
        shown = bar.add_task("", visible=False)

        def say(text: str, done: int, total: int) -> None:
            bar.update(shown, description=text, completed=done, total=total, visible=True, refresh=True)

        yield say
