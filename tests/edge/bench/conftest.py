import pytest

from cxr_edge.bench.environment import Environment
from cxr_edge.bench.inputs import Inputs
from cxr_edge.bench.measure import Figures, Rule
from cxr_edge.bench.report import Report


@pytest.fixture
def environment():
    versions = {"numpy": "2.0", "onnxruntime": "1.30"}
    return Environment("CPU X", "x86_64", 8, 4, None, "Linux", "6.1", "3.11.1", versions, load=0.1)


@pytest.fixture
def figures():
    """Make figures of a median latency in milliseconds."""

    def figures(p50, *, spread=0.05, p99=None):
        return Figures(p50, p50, p50, p99 or 2 * p50, p50, 1000 / p50, 100, 3, spread, spread <= 0.1)

    return figures


@pytest.fixture
def report(environment):
    """Make a report of what was measured."""

    def report(measured, **changes):
        values = {
            "created": "2030-01-02T03:04:05+00:00",
            "bundle": {"name": "tiny", "version": "1", "sha256": "a" * 64},
            "environment": environment,
            "inputs": Inputs(2, 2, False, "b" * 64, ("PNG 10x10",)),
            "rule": Rule(),
            "figures": measured,
        }
        return Report(**(values | changes))

    return report
