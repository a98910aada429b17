"""Is this machine set up right? Checks that report what they find, whatever is missing, broken or damaged."""

from cxr_edge.doctor.examination import examine
from cxr_edge.doctor.finding import Finding, Report

__all__ = ["Finding", "Report", "examine"]
