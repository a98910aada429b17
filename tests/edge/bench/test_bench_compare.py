from dataclasses import replace

import pytest

from cxr_edge.bench.cases import Case, InputSummary
from cxr_edge.bench.compare import check_machine, compare_reports
from cxr_edge.bench.report import MeasuredBundle
from cxr_edge.errors import UsageError

PREDICT = Case("predict", "session", "cpu", "fp32", 1, 4)
LIME = Case("lime", "file", "cpu", "int8", 1, 4)


def test_ratios_are_now_by_before(report, figures):
    before = report({PREDICT: figures(10.0, p99=30.0)})
    now = report({PREDICT: figures(5.0, p99=45.0)})
    (ratio,) = compare_reports(before, now).ratios
    assert (ratio.p50, ratio.p99, ratio.throughput) == (0.5, 1.5, 2.0)


@pytest.mark.parametrize(
    ("before", "now", "spreads", "verdict"),
    [
        (10.0, 10.4, (0.05, 0.01), "same"),
        (10.0, 10.4, (0.01, 0.05), "same"),
        (10.0, 10.4, (0.01, 0.02), "slower"),
        (10.4, 10.0, (0.01, 0.02), "quicker"),
        (10.4, 10.0, (0.05, 0.02), "same"),
        (10.0, 25.0, (0.1, 2.0), "same"),
        (10.0, 25.0, (0.1, 0.1), "slower"),
    ],
)
def test_a_change_within_what_the_figures_varied_by_is_none(report, figures, before, now, spreads, verdict):
    old, new = (figures(value, spread=spread) for value, spread in zip((before, now), spreads, strict=True))
    assert compare_reports(report({PREDICT: old}), report({PREDICT: new})).ratios[0].verdict == verdict


def test_nothing_else_changed_says_nothing(report, figures):
    same = report({PREDICT: figures(10.0)})
    assert compare_reports(same, same).differences == ()


def test_cases_of_one_run_only_are_listed(report, figures):
    before, now = report({PREDICT: figures(1.0), LIME: figures(2.0)}), report({PREDICT: figures(1.0)})
    assert compare_reports(before, now).only_before == (LIME,)
    assert compare_reports(now, before).only_now == (LIME,)


def test_another_provider_is_never_divided_by(report, figures):
    on_cuda = replace(PREDICT, provider="cuda")
    with pytest.raises(UsageError, match=r"nothing to compare: before, predict.* on cpu; now, predict.* on cuda"):
        compare_reports(report({PREDICT: figures(1.0)}), report({on_cuda: figures(1.0)}))


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "CPU Y"},
        {"usable_cores": 2},
        {"architecture": "aarch64"},
        {"accelerator": "GPU"},
        {"cores": 16},
        {"instruction_sets": ("AVX2", "AVX-512 VNNI")},
    ],
)
def test_another_machine_is_refused_and_said(report, figures, machine, change):
    other = replace(machine, **change)
    (value,) = change.values()
    named = value[-1] if isinstance(value, tuple) else str(value)
    with pytest.raises(UsageError, match=rf"another machine.*{named}.*--across-machines"):
        check_machine(other, machine)
    measured = {PREDICT: figures(1.0)}
    (said,) = compare_reports(report(measured, machine=other), report(measured)).differences
    assert said.startswith("Another machine: ")


def test_another_load_or_version_is_the_same_machine(machine):
    check_machine(replace(machine, load=7.0, release="7", python="3.12", packages={}), machine)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bundle": MeasuredBundle("tiny", "2", "c" * 64)}, "Another bundle: tiny 1 (aaaaaaaaaaaa)"),
        ({"inputs": InputSummary(1, 30, False, "d" * 64, ("PNG 1x1",))}, "1 file of 30, evenly spaced (PNG 1x1)"),
        ({"machine": {"packages": {"numpy": "2.1", "onnxruntime": "1.30"}}}, "numpy: 2.0 before, 2.1"),
        ({"machine": {"packages": {"numpy": "2.0"}}}, "onnxruntime: 1.30 before, none now"),
        ({"machine": {"python": "3.12.0"}}, "Another Python: 3.11.1 before, 3.12.0 now."),
        ({"machine": {"load": 6.0}}, "busy now: load 6.0 on 8 cores"),
    ],
)
def test_what_else_changed_is_said(report, figures, machine, change, said):
    measured = {PREDICT: figures(1.0)}
    if "machine" in change:
        change = {"machine": replace(machine, **change["machine"])}
    (sentence,) = compare_reports(report(measured), report(measured, **change)).differences
    assert said in sentence


def test_two_synthetic_inputs_are_equal_whatever_made_their_bytes(report, figures):
    measured = {PREDICT: figures(1.0)}
    made = [report(measured, inputs=InputSummary(1, 1, True, digest, ("JPEG 1x1",))) for digest in "ab"]
    assert compare_reports(*made).differences == ()
