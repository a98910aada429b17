"""Latency against batch size, as a picture."""

from cxr_edge.bench.cases import Case, Selection, counted
from cxr_edge.bench.chart import SOFT, Canvas, Panel, Series, room_for_legend
from cxr_edge.bench.measure import Figures
from cxr_edge.bench.report import Report
from cxr_edge.errors import UsageError
from cxr_edge.explanation.rendering import to_png

_TITLES = {
    "session": "session: ready input to numbers",
    "file": "file: from disk cache to record",
}
_PANEL_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 560, 620, 90, 120, 510, 70


def check_plot(selection: Selection) -> None:
    """Refuse what gives no line, before time is spent on measuring it.

    Raises:
        UsageError: ``predict`` is not measured, or at one batch size only.
    """
    if "predict" not in selection.tasks or len(selection.batch_sizes) < 2:
        raise UsageError("--plot draws predict against batch size: measure --task predict with --batch-size 1,8, say")


def draw(report: Report) -> bytes:
    """Draw the median of each network as a line, with a band up to its 99th percentile.

    Args:
        report: With the task ``predict`` at two batch sizes or more.

    Returns:
        A PNG: one panel for each scope, logarithmic axes, the same vertical one.
    """
    measured = {case: figures for case, figures in report.figures.items() if case.task == "predict"}
    sizes = sorted({case.batch_size for case in measured})
    panels = {
        scope: _series({case: figures for case, figures in measured.items() if case.scope == scope})
        for scope in dict.fromkeys(case.scope for case in measured)
    }
    x = (sizes[0] / 1.15, sizes[-1] * 1.15)
    low = min(figures.p50 for figures in measured.values()) / 1.25
    high = max(figures.p99 for figures in measured.values()) * 1.25
    high = max(high, *(room_for_legend(series, x, low, _BOTTOM - _TOP) for series in panels.values()))
    canvas = Canvas(_LEFT + len(panels) * (_PANEL_WIDTH + _GAP), _HEIGHT)
    canvas.text("Latency of predict against batch size", 24, 36, size=20)
    key = "line: median of a run (p50); band: up to its 99th percentile (p99)"
    if restless := sum(not figures.settled for figures in measured.values()):
        key += f"; {restless} of {len(measured)} points did not settle"
    canvas.text(key, 24, 62, colour=SOFT)
    canvas.upright("latency of a run (ms)", 26, (_TOP + _BOTTOM) / 2)
    for number, (scope, series) in enumerate(panels.items()):
        left = _LEFT + number * (_PANEL_WIDTH + _GAP)
        panel = Panel((left, _TOP, left + _PANEL_WIDTH, _BOTTOM), x, (low, high))
        panel.draw(canvas, series, title=_TITLES[scope], ticks=sizes, label="radiographs in a run (batch size)")
    bundle = report.bundle
    said = f"{bundle['name']} {bundle['version']} ({bundle['sha256'][:12]}), {report.environment.machine}"
    canvas.text(said.encode("ascii", "replace").decode("ascii"), 24, _HEIGHT - 18, size=12, colour=SOFT)
    return to_png(canvas.finish())


def _series(measured: dict[Case, Figures]) -> list[Series]:
    lines: dict[tuple[str, str, int], list[Case]] = {}
    for case in sorted(measured, key=lambda case: case.batch_size):
        lines.setdefault((case.precision, case.provider, case.threads), []).append(case)
    return [
        Series(
            name=f"{precision}, {provider}, {counted(threads, 'thread')}",
            x=tuple(float(case.batch_size) for case in cases),
            middle=tuple(measured[case].p50 for case in cases),
            top=tuple(measured[case].p99 for case in cases),
        )
        for (precision, provider, threads), cases in lines.items()
    ]
