"""What can go wrong while exporting, beyond the runtime's own errors."""

from cxr_edge.errors import CxrEdgeError


class RunError(CxrEdgeError):
    """A run folder that cannot be exported: missing files, or a network without the parts that are exported."""

    exit_code = 2
    kind = "run"


class ConversionError(CxrEdgeError):
    """An operator that has no counterpart in ONNX."""

    kind = "conversion"


class ParityError(CxrEdgeError):
    """The bundle answers differently from the Keras network, or its map does not depend on the input."""

    kind = "parity"
