"""Python, the packages that every answer needs, and the one ONNX Runtime that should be there."""

import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from cxr_edge import __version__
from cxr_edge.doctor.finding import Finding
from cxr_edge.errors import ProviderError
from cxr_edge.runtime import distributions
from cxr_edge.runtime.providers import ACCELERATORS, has_nvidia_driver

AREA = "installation"
# Import name → distribution; ONNX Runtime has a check of its own.
_PACKAGES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "pydicom": "pydicom",
    "jinja2": "jinja2",
    "rich": "rich",
    "typer": "typer",
}


def examine_installation() -> Iterator[Finding]:
    """Look at Python, at the packages and at ONNX Runtime."""
    yield _python()
    yield _packages()
    yield _runtime()


def _python() -> Finding:
    system = platform.platform(terse=True)
    facts = {
        "version": platform.python_version(),
        "executable": sys.executable,
        "system": system,
        "machine": platform.machine(),
    }
    return Finding(AREA, "python", "ok", f"{facts['version']} on {system}, {facts['machine']}", facts)


def _packages() -> Finding:
    versions = {"cxr-edge": __version__}
    broken = {}
    for module, name in _PACKAGES.items():
        try:
            import_module(module)
            versions[name] = _version(name, module)
        except Exception as error:  # noqa: BLE001  # a package with a missing library raises anything
            broken[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
    facts = {"versions": versions, "broken": broken}
    if broken:
        said = "; ".join(f"{name} cannot be imported ({why})" for name, why in broken.items())
        cure = (f"python -m pip install --force-reinstall {' '.join(broken)}",)
        return Finding(AREA, "packages", "fault", said, facts, cure, ProviderError.exit_code)
    return Finding(AREA, "packages", "ok", ", ".join(f"{name} {number}" for name, number in versions.items()), facts)


def _version(name: str, module: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # another distribution brings the same module, such as opencv-python
        return str(getattr(import_module(module), "__version__", "unknown"))


def _runtime() -> Finding:
    there = distributions.installed()
    said = " and ".join(f"{name} {number}" for name, number in there.items())
    facts: dict[str, object] = {"distributions": there}
    # One that is wanted for its accelerator stays.
    extras = [each.extra for each in ACCELERATORS.values() if each.package in there and each.word != "cuda"]
    extra = "gpu" if has_nvidia_driver() else extras[0] if extras else "cpu"
    cure = distributions.reinstall(extra)
    if len(there) > 1:
        summary = f"{said} are both installed: they share one folder and break each other; keep one"
        return Finding(AREA, "onnxruntime", "fault", summary, facts, cure, ProviderError.exit_code)
    try:
        from cxr_edge.runtime.sessions import onnxruntime
    except ProviderError as error:
        return Finding(AREA, "onnxruntime", "fault", str(error).partition("; ")[0], facts, cure, error.exit_code)
    except ImportError as error:  # NumPy is at fault, and has been named
        return Finding(AREA, "onnxruntime", "fault", f"not loaded ({error})", facts, (), ProviderError.exit_code)
    facts["imported"] = onnxruntime.__version__
    return Finding(AREA, "onnxruntime", "ok", said or f"{onnxruntime.__version__}, not installed by pip", facts)
