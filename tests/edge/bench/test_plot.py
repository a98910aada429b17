import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cxr_edge.bench import plot
from cxr_edge.bench.cases import Case, CaseSelection
from cxr_edge.bench.plot import check_plot, draw_latency
from cxr_edge.bench.report import MeasuredBundle
from cxr_edge.errors import UsageError
from cxr_edge.files import STAMP

BLUE, ORANGE = (178, 114, 0), (0, 94, 213)  # BGR
CASE = Case("predict", "session", "cpu", "fp32", 1, 2)
SWEEP = CaseSelection(("predict",), ("session",), (1, 8))


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def heights(picture, colour, columns):
    """Rows of a picture's columns that are of a colour."""
    near = np.abs(picture[:, columns].astype(int) - colour).max(axis=-1) < 12
    return np.nonzero(near.any(axis=1))[0]


def axes_of(picture):
    """Left and right end of each dark horizontal line that is as long as an axis, and their row."""
    dark = (picture < 60).all(axis=-1)
    row = int(np.argmax(dark.sum(axis=1)))
    columns = np.nonzero(dark[row])[0]
    pieces = np.split(columns, np.nonzero(np.diff(columns) > 1)[0] + 1)
    return row, [(int(piece[0]), int(piece[-1])) for piece in pieces if len(piece) > 100]


def sweep(figures, *, scopes=("session",), precisions=("fp32",), factor=1.0):
    return {
        replace(CASE, scope=scope, precision=precision, batch_size=size): figures(5.0 * size * factor)
        for scope in scopes
        for precision in precisions
        for size in (1, 2, 4, 8)
    }


def test_latency_that_doubles_with_the_batch_is_a_rising_line(report, figures):
    picture = decoded(draw_latency(report(sweep(figures))))
    row, ((left, right),) = axes_of(picture)
    columns = [round(left + share * (right - left)) for share in (0.2, 0.5, 0.8)]
    lines = [heights(picture[:row], BLUE, slice(column - 5, column + 5)) for column in columns]
    assert [rows.size > 0 for rows in lines] == [True, True, True]
    first, second, third = (rows.mean() for rows in lines)
    assert first > second > third
    assert first - second == pytest.approx(second - third, abs=3)  # both axes are logarithmic: a straight line


def test_each_scope_has_a_panel_and_each_precision_a_line(report, figures):
    one = decoded(draw_latency(report(sweep(figures))))
    both = ("session", "file")
    measured = sweep(figures, scopes=both) | sweep(figures, scopes=both, precisions=("int8",), factor=0.5)
    two = decoded(draw_latency(report(measured)))
    assert two.shape[0] == one.shape[0]
    assert len(axes_of(one)[1]) == 1
    row, panels = axes_of(two)
    assert len(panels) == 2
    for left, right in panels:
        middle = (left + right) // 2
        blue, orange = (heights(two[:row], colour, slice(middle, middle + 20)).mean() for colour in (BLUE, ORANGE))
        assert orange > blue  # int8 is below
    assert heights(one, ORANGE, slice(0, None)).size == 0


def test_the_band_reaches_from_the_median_to_the_99th_percentile(report, figures):
    measured = {replace(CASE, batch_size=size): figures(10.0, p99=100.0) for size in (1, 8)}
    picture = decoded(draw_latency(report(measured)))
    row, ((left, right),) = axes_of(picture)
    column = picture[:row, (left + right) // 2].astype(int)
    tinted = np.nonzero((column[:, 0] - column[:, 2] > 20) & (column[:, 0] > 200))[0]
    line = heights(picture[:row], BLUE, slice((left + right) // 2, (left + right) // 2 + 1))
    assert tinted.size > 250  # nearly all of the panel: nothing else spans the axis
    assert line.min() == pytest.approx(tinted.max(), abs=4)


def test_only_predict_is_drawn_and_the_order_of_measurement_does_not_matter(report, figures):
    measured = sweep(figures)
    shuffled = dict(reversed(measured.items())) | {replace(CASE, task="lime"): figures(9000.0)}
    assert draw_latency(report(shuffled)) == draw_latency(report(measured))


def test_points_that_did_not_settle_are_counted(report, figures):
    measured = sweep(figures)
    restless = {case: replace(each, settled=False) for case, each in measured.items()}
    assert draw_latency(report(restless)) != draw_latency(report(measured))


def test_a_name_is_never_taken_for_a_formula(report, figures):
    odd = MeasuredBundle("cost in $ and $x_{", "1", "a" * 64)
    assert decoded(draw_latency(report(sweep(figures), bundle=odd))) is not None


def test_the_picture_says_what_drew_it(report, figures):
    assert b"Software\0" + STAMP in draw_latency(report(sweep(figures)))[:256]


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [((1, 2, 4, 8), ["1", "2", "4", "8"]), ((1, 15, 16), ["1", "15", ""]), ((7, 8), ["7", "8"])],
)
def test_numbers_below_the_axis_never_touch(sizes, labels):
    assert plot._labels(sizes) == labels


@pytest.mark.parametrize(("tasks", "sizes"), [(("lime",), (1, 8)), (("predict",), (4,))])
def test_a_plot_without_a_line_is_refused(tasks, sizes):
    with pytest.raises(UsageError, match="--plot draws"):
        check_plot(CaseSelection(tasks, ("session",), sizes))


def test_without_matplotlib_the_cure_is_said_before_anything_is_measured(monkeypatch):
    check_plot(SWEEP)
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r'needs matplotlib.*pip install "cxr-edge\[plot\]"'):
        check_plot(SWEEP)


def test_nothing_but_drawing_imports_matplotlib():
    import subprocess

    program = "import sys, cxr_edge.commands.bench, cxr_edge.bench.plot; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
