"""Latency against batch size, as a picture; matplotlib draws it, and comes with an extra of its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from cxr_edge import __version__
from cxr_edge.bench.cases import Case, CaseSelection, counted
from cxr_edge.bench.measure import Figures
from cxr_edge.bench.report import BenchReport
from cxr_edge.errors import UsageError
from cxr_edge.files import STAMP

_TITLES = {
    "session": "session: ready input to numbers",
    "file": "file: from disk cache to record",
}
# Okabe and Ito (2008), told apart by the colour-blind.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MARKERS = ("o", "s", "^", "D")
_SOFT = "#6e6e6e"


def check_plot(selection: CaseSelection) -> None:
    """Refuse what gives no picture, before time is spent on measuring it.

    Raises:
        UsageError: ``predict`` is not measured, or at one batch size only; or matplotlib is not installed.
    """
    if "predict" not in selection.tasks or len(selection.batch_sizes) < 2:
        raise UsageError("--plot draws predict against batch size: measure --task predict with --batch-size 1,8, say")
    if find_spec("matplotlib") is None:
        raise UsageError('--plot needs matplotlib, which is not installed; python -m pip install "cxr-edge[plot]"')


def draw_latency(report: BenchReport) -> bytes:
    """Draw the median of each network as a line, with a band up to its 99th percentile.

    Args:
        report: With the task ``predict`` at two batch sizes or more.

    Returns:
        A PNG: one panel for each scope, logarithmic axes, the same vertical one.
    """
    from matplotlib.figure import Figure

    measured = {case: figures for case, figures in report.figures.items() if case.task == "predict"}
    scopes = list(dict.fromkeys(case.scope for case in measured))
    figure = Figure(figsize=(2.6 + 4.8 * len(scopes), 5.6), dpi=120, layout="constrained")
    figure.suptitle("Latency of predict against batch size", fontsize=14)
    panels = figure.subplots(1, len(scopes), sharey=True, squeeze=False)[0]
    panels[0].set_ylabel("latency of a run (ms)")
    styles = {name: number for number, name in enumerate(dict.fromkeys(map(_network, measured)))}
    for scope, axes in zip(scopes, panels, strict=True):
        axes.set_title(_TITLES[scope], fontsize=11)
        for name, number in styles.items():
            line = {case: each for case, each in measured.items() if case.scope == scope and _network(case) == name}
            _draw_line(axes, line, name=name, number=number)
    _scale(panels, measured)
    # Beside the panels nothing can lie under it.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    key = "line: median of a run (p50); band: up to its 99th percentile (p99)"
    if restless := sum(not figures.settled for figures in measured.values()):
        key += f"; {restless} of {len(measured)} points did not settle"
    caption = f"{key}\n{report.bundle}\n{report.machine}"
    # A name with a dollar sign is a name, not a formula.
    figure.supxlabel(caption, fontsize=8, color=_SOFT, parse_math=False)
    picture = BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": f"{STAMP.decode()} {__version__}"})
    return picture.getvalue()


def _network(case: Case) -> str:
    return f"{case.precision}, {case.provider}, {counted(case.threads, 'thread')}"


def _draw_line(axes: Any, measured: Mapping[Case, Figures], *, name: str, number: int) -> None:
    cases = sorted(measured, key=lambda case: case.batch_size)
    sizes = [case.batch_size for case in cases]
    medians = [measured[case].latency_ms.p50 for case in cases]
    slowest = [measured[case].latency_ms.p99 for case in cases]
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    axes.fill_between(sizes, medians, slowest, color=colour, alpha=0.2, linewidth=0)
    axes.plot(sizes, medians, color=colour, marker=marker, label=name)


def _scale(panels: Iterable[Any], measured: Mapping[Case, Figures]) -> None:
    """Give every panel logarithmic axes, whose numbers are written without exponents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sizes = sorted({case.batch_size for case in measured})
    low = min(figures.latency_ms.p50 for figures in measured.values())
    high = max(figures.latency_ms.p99 for figures in measured.values())
    # On a short axis 1, 2 and 5 would be fewer than three numbers.
    steps = (1, 2, 5) if high / low > 10 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, _labels(sizes))
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("radiographs in a run (batch size)")


def _labels(sizes: Sequence[int]) -> list[str]:
    """Label the batch sizes that lie far enough from the last labelled one for two numbers not to touch."""
    labels: list[str] = []
    last = -math.inf
    for size in sizes:
        place = math.log(size) / math.log(sizes[-1] / sizes[0])
        labels.append(str(size) if place - last > 0.07 else "")
        last = place if labels[-1] else last
    return labels
