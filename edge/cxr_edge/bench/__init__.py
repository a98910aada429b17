"""Benchmarks of this machine: what ``cxr-edge bench`` does."""

from cxr_edge.bench.cases import Case, Selection
from cxr_edge.bench.compare import Comparison, check_machine, compare
from cxr_edge.bench.environment import look_around
from cxr_edge.bench.inputs import open_inputs
from cxr_edge.bench.measure import Figures, Rule, measure
from cxr_edge.bench.plot import check_plot, draw
from cxr_edge.bench.report import Report, check_writable, read_report, to_text, write
from cxr_edge.bench.suite import Networks, Suite

__all__ = [
    "Case",
    "Comparison",
    "Figures",
    "Networks",
    "Report",
    "Rule",
    "Selection",
    "Suite",
    "check_machine",
    "check_plot",
    "check_writable",
    "compare",
    "draw",
    "look_around",
    "measure",
    "open_inputs",
    "read_report",
    "to_text",
    "write",
]
