"""LIME on ONNX Runtime: the package's own computation in batches, and a faster one that says how stable it is."""

from cxr_edge.lime.engine import Lime
from cxr_edge.lime.explanation import LimeExplanation

__all__ = ["Lime", "LimeExplanation"]
