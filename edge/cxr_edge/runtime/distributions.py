"""Which distributions of ONNX Runtime are installed; all write one folder, so that two break each other."""

import sys
from functools import cache

from cxr_edge.errors import ProviderError

UNINSTALL = "python -m pip uninstall -y"
_VISUAL_CPP = "install the Microsoft Visual C++ Redistributable (x64) if the module says that a DLL cannot be loaded"


@cache
def installed() -> dict[str, str]:
    """Give name and version of every installed distribution that brings ONNX Runtime's import folder."""
    from importlib.metadata import distributions  # not before somebody asks: it takes its time

    found = {}
    for each in distributions():
        try:
            name, number = each.metadata["Name"] or "", each.version
        except (KeyError, TypeError):  # what an interrupted pip leaves behind has no metadata
            continue
        if name.startswith(("onnxruntime", "ort-")):
            files = each.files  # None where the installer kept no list: then the name has to do
            if files is None or any(file.parts[0] == "onnxruntime" for file in files):
                found[name] = number
    return dict(sorted(found.items()))


def reinstall(extra: str) -> tuple[str, ...]:
    """Give the lines to type that leave exactly one ONNX Runtime.

    Args:
        extra: The extra of this package that brings it: ``cpu``, ``gpu``, ``openvino`` or ``directml``.
    """
    there = " ".join(installed())
    install = f'python -m pip install "cxr-edge[{extra}]"'
    return (f"{UNINSTALL} {there}", install) if there else (install,)


def import_failure(error: BaseException) -> ProviderError:
    """Give the error that says why ``import onnxruntime`` fails, and what to type.

    Args:
        error: What the import raised.
    """
    there = installed()
    cure = "; ".join(reinstall("cpu"))
    if not there:
        problem = "no ONNX Runtime is installed, which every answer needs"
        return ProviderError(problem, cure=f"{cure} (on an NVIDIA GPU: cxr-edge[gpu])")

    names = " and ".join(f"{name} {number}" for name, number in there.items())
    shared = ", which share one folder and break each other" if len(there) > 1 else ""
    problem = f"ONNX Runtime is installed ({names}{shared}) but cannot be imported ({error})"
    return ProviderError(problem, cure=f"{cure}; {_VISUAL_CPP}" if sys.platform == "win32" else cure)
