from dataclasses import replace

import cv2
import numpy as np
import pytest

from cxr_edge.bench.cases import Case, Selection
from cxr_edge.bench.chart import Canvas, Panel, Series, room_for_legend, round_values
from cxr_edge.bench.plot import check_plot, draw
from cxr_edge.errors import UsageError

BLUE, ORANGE = (178, 114, 0), (0, 94, 213)
CASE = Case("predict", "session", "cpu", "fp32", 1, 2)


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def heights(picture, colour, columns):
    """Rows of a picture's columns that are of a colour."""
    near = np.abs(picture[:, columns].astype(int) - colour).max(axis=-1) < 12
    return np.nonzero(near.any(axis=1))[0]


def sweep(figures, *, scopes=("session",), precisions=("fp32",), factor=1.0):
    return {
        replace(CASE, scope=scope, precision=precision, batch_size=size): figures(5.0 * size * factor)
        for scope in scopes
        for precision in precisions
        for size in (1, 2, 4, 8)
    }


def test_latency_that_doubles_with_the_batch_is_a_rising_line(report, figures):
    picture = decoded(draw(report(sweep(figures))))
    lines = [heights(picture[200:], BLUE, slice(start, start + 20)) for start in (150, 350, 550)]
    assert [rows.size > 0 for rows in lines] == [True, True, True]
    assert lines[0].mean() > lines[1].mean() > lines[2].mean()


def test_each_scope_has_a_panel_and_each_precision_a_line(report, figures):
    one = decoded(draw(report(sweep(figures))))
    measured = sweep(figures, scopes=("session", "file")) | sweep(
        figures, scopes=("session", "file"), precisions=("int8",), factor=0.5
    )
    two = decoded(draw(report(measured)))
    assert two.shape[1] > 1.7 * one.shape[1]
    assert two.shape[0] == one.shape[0]
    for half in (two[200:, : two.shape[1] // 2], two[200:, two.shape[1] // 2 :]):
        blue, orange = (heights(half, colour, slice(300, 320)).mean() for colour in (BLUE, ORANGE))
        assert orange > blue  # int8 is below
    assert heights(one, ORANGE, slice(0, None)).size == 0


def test_the_band_reaches_from_the_median_to_the_99th_percentile(report, figures):
    measured = {replace(CASE, batch_size=size): figures(10.0, p99=100.0) for size in (1, 8)}
    picture = decoded(draw(report(measured)))
    column = picture[:, 400].astype(int)
    tinted = np.nonzero((column[:, 0] - column[:, 2] > 20) & (column[:, 0] > 200))[0]
    axis = np.nonzero((picture[130:500, 92:640].astype(int).mean(axis=2) < 235).mean(axis=1) > 0.9)[0]
    assert tinted.size > 250  # a factor of ten on an axis of a factor of 15.6, 390 pixels high
    assert axis.size > 0


def test_only_predict_is_drawn_and_the_order_of_measurement_does_not_matter(report, figures):
    measured = sweep(figures)
    shuffled = dict(reversed(measured.items())) | {replace(CASE, task="lime"): figures(9000.0)}
    assert draw(report(shuffled)) == draw(report(measured))


def test_points_that_did_not_settle_are_counted(report, figures):
    measured = sweep(figures)
    restless = {case: replace(each, settled=False) for case, each in measured.items()}
    assert draw(report(restless)) != draw(report(measured))


def test_round_values():
    assert round_values(0.15, 30) == pytest.approx([0.2, 0.5, 1, 2, 5, 10, 20])
    assert round_values(1, 1000)[:3] == [1, 2, 5]
    assert round_values(1, 1000)[-1] == 1000
    assert round_values(6, 12) == [6, 7, 8, 9, 10]


def test_the_legend_lies_above_what_is_drawn_under_it():
    flat = Series("flat", (1, 16), (10, 10), (100, 100))
    low, height = 1.0, 400.0
    high = room_for_legend([flat] * 4, (1, 16), low, height)
    _, y = Panel((0, 0, 500, height), (1, 16), (low, high)).place(1, 100)
    assert 100 < y < 130
    rising = Series("rising", (1, 16), (1, 100), (1, 100))
    assert room_for_legend([rising], (1, 16), low, height) == low


def test_axes_are_logarithmic():
    panel = Panel((100, 50, 500, 450), (1, 16), (1, 10_000))
    assert panel.place(1, 1) == (100, 450)
    assert panel.place(16, 10_000) == (500, 50)
    assert panel.place(4, 100) == pytest.approx((300, 250))


def test_upright_text_stays_within_a_small_canvas():
    canvas = Canvas(40, 300)
    canvas.upright("latency", 20, 150)
    picture = canvas.finish()
    dark = np.nonzero((picture < 128).all(axis=2))
    assert picture.shape == (300, 40, 3)
    assert np.ptp(dark[0]) > 2 * np.ptp(dark[1])
    assert abs(dark[0].mean() - 150) < 8


@pytest.mark.parametrize(("tasks", "sizes"), [(("lime",), (1, 8)), (("predict",), (4,))])
def test_a_plot_without_a_line_is_refused(tasks, sizes):
    with pytest.raises(UsageError, match="--plot draws"):
        check_plot(Selection(tasks, ("session",), sizes))
