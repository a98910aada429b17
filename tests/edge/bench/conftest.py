import pytest

from cxr_edge.bench.cases import InputSummary
from cxr_edge.bench.measure import Figures, Latency, Rule
from cxr_edge.bench.report import BenchReport, MeasuredBundle
from cxr_edge.runtime.machine import Machine


@pytest.fixture
def machine():
    versions = {"numpy": "2.0", "onnxruntime": "1.30"}
    return Machine("CPU X", "x86_64", 8, 4, None, "Linux", "6.1", "3.11.1", versions, 0.1, ("AVX2",), 2**33)


@pytest.fixture
def figures():
    """Make figures of a median latency in milliseconds."""

    def figures(p50, *, spread=0.05, p99=None):
        latency = Latency(p50, p50, p50, p99 or 2 * p50, p50)
        return Figures(latency, 1000 / p50, 100, 3, spread, spread <= 0.1)

    return figures


@pytest.fixture
def report(machine):
    """Make a report of what was measured."""

    def report(measured, **changes):
        values = {
            "created": "2030-01-02T03:04:05+00:00",
            "bundle": MeasuredBundle("tiny", "1", "a" * 64),
            "machine": machine,
            "inputs": InputSummary(2, 2, False, "b" * 64, ("PNG 10x10",)),
            "rule": Rule(),
            "figures": measured,
        }
        return BenchReport(**(values | changes))

    return report
