"""Explained chest-X-ray classification on ONNX Runtime.

Example:
    >>> import cxr_edge
    >>> model = cxr_edge.load()
    >>> answer = model.predict("radiograph.jpeg")
    >>> answer.label, answer.probability
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxr_edge import telemetry

if TYPE_CHECKING:
    from cxr_edge.api import Model, load
    from cxr_edge.errors import BundleError, CxrEdgeError, InputError, OutputError, ProviderError, UsageError
    from cxr_edge.explanation import LimeOptions
    from cxr_edge.explanation.explainer import Explanation
    from cxr_edge.explanation.figures import draw
    from cxr_edge.reading.decode import read_radiograph
    from cxr_edge.reading.radiograph import Radiograph, Source
    from cxr_edge.results.outcomes import Answer, Refusal

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "BundleError",
    "CxrEdgeError",
    "Explanation",
    "InputError",
    "LimeOptions",
    "Model",
    "OutputError",
    "ProviderError",
    "Radiograph",
    "Refusal",
    "Source",
    "UsageError",
    "draw",
    "load",
    "read_radiograph",
]

telemetry.switch_off()  # every way into this program passes here before it imports one of the libraries

_MODULES = {
    **dict.fromkeys(("Model", "load"), "api"),
    **dict.fromkeys(
        ("BundleError", "CxrEdgeError", "InputError", "OutputError", "ProviderError", "UsageError"), "errors"
    ),
    "Explanation": "explanation.explainer",
    "LimeOptions": "explanation",
    "draw": "explanation.figures",
    **dict.fromkeys(("Radiograph", "Source"), "reading.radiograph"),
    **dict.fromkeys(("Answer", "Refusal"), "results.outcomes"),
    "read_radiograph": "reading.decode",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without NumPy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
