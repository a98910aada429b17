"""Python, the packages that every answer needs, the one ONNX Runtime, DICOM decoders, and the processor."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from cxr_edge import __version__
from cxr_edge.doctor.finding import Finding
from cxr_edge.errors import CxrEdgeError, ProviderError
from cxr_edge.runtime import providers
from cxr_edge.runtime.machine import Machine, Processor, read_machine, read_processor
from cxr_edge.runtime.providers import ACCELERATORS, has_nvidia_driver
from cxr_edge.telemetry import SWITCHES, read_telemetry

_PROCESSOR, _AREA = "processor", "installation"
_MEASURE = "cxr-edge bench --precision fp32,int8 measures it"


def examine_processor() -> Iterator[Finding]:
    """Look at cores, memory and instructions."""
    machine, processor = read_machine(), read_processor()
    yield _cores(machine)
    yield _memory(machine)
    yield _instructions(processor)
    yield _int8(processor)
    yield _bf16(processor)


def _cores(machine: Machine) -> Finding:
    cores, present = machine.usable_cores, machine.cores
    summary = f"{cores} of {present} may be used" + ("" if cores == present else " (affinity or container limit)")
    return Finding(_PROCESSOR, "cores", "ok", summary, {"usable": cores, "present": present})


def _memory(machine: Machine) -> Finding:
    memory = machine.usable_memory
    summary = "unknown on this operating system" if memory is None else f"{memory / 2**30:.1f} GiB may be used"
    return Finding(_PROCESSOR, "memory", "ok" if memory else "note", summary, {"usable_bytes": memory})


def _instructions(processor: Processor) -> Finding:
    there, known = processor.instruction_sets, processor.known_instruction_sets
    facts = {
        "processor": processor.model,
        "features": None if there is None else {name: name in there for name in known},
    }
    if there is None:
        summary = f"{processor.model}: instruction sets unknown on this operating system"
        return Finding(_PROCESSOR, "instructions", "note", summary, facts)
    missing = ", ".join(name for name in known if name not in there)
    summary = (
        f"{processor.model}: {', '.join(there) or 'none that matters'}{f' (without {missing})' if missing else ''}"
    )
    return Finding(_PROCESSOR, "instructions", "ok", summary, facts)


def _int8(processor: Processor) -> Finding:
    sets = processor.instruction_sets
    facts = {"instructions": processor.multiplies_int8}
    if sets is None:
        return Finding(_PROCESSOR, "int8", "note", f"unknown whether it is quicker than fp32; {_MEASURE}", facts)
    if processor.multiplies_int8:
        summary = f"quick: the processor adds products of 8-bit numbers in one instruction; {_MEASURE}"
        return Finding(_PROCESSOR, "int8", "ok", summary, facts)
    if "AVX2" in sets:
        # Two products of 8-bit numbers are added in 16 bits, which overflow unless one factor has 7 bits.
        summary = f"gains less: no VNNI, so that products take three instructions and weights of 7 bits; {_MEASURE}"
        return Finding(_PROCESSOR, "int8", "ok", summary, facts)
    return Finding(_PROCESSOR, "int8", "ok", "not quicker than fp32 here: stay with --precision fp32", facts)


def _bf16(processor: Processor) -> Finding:
    facts = {"instructions": processor.multiplies_bf16}
    if processor.instruction_sets is None:
        return Finding(_PROCESSOR, "bf16", "note", "unknown whether the processor has instructions for it", facts)
    if processor.multiplies_bf16:
        summary = "the processor has instructions for it; ONNX Runtime on the CPU computes fp32 in fp32 all the same"
        return Finding(_PROCESSOR, "bf16", "ok", summary, facts)
    return Finding(_PROCESSOR, "bf16", "ok", "the processor has no instructions for it", facts)


# Import name → distribution; ONNX Runtime has a check of its own.
_PACKAGES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pydicom": "pydicom",
    "simplejpeg": "simplejpeg",
    "jinja2": "jinja2",
    "msgspec": "msgspec",
    "rich": "rich",
    "typer": "typer",
}
_DECODERS = 'python -m pip install "cxr-edge[dicom]"'


def examine_installation() -> Iterator[Finding]:
    """Look at Python, at the packages and at ONNX Runtime."""
    yield _python()
    yield _packages()
    yield _runtime()
    yield _telemetry()
    yield _cache()


def _python() -> Finding:
    system = platform.platform(terse=True)
    facts = {
        "version": platform.python_version(),
        "executable": sys.executable,
        "system": system,
        "machine": platform.machine(),
    }
    return Finding(_AREA, "python", "ok", f"{facts['version']} on {system}, {facts['machine']}", facts)


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
        return Finding(_AREA, "packages", "fault", said, facts, cure, ProviderError.exit_code)
    return Finding(_AREA, "packages", "ok", ", ".join(f"{name} {number}" for name, number in versions.items()), facts)


def _version(name: str, module: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # another distribution brings the same module, such as opencv-python
        return str(getattr(import_module(module), "__version__", "unknown"))


def _runtime() -> Finding:
    there = providers.installed()
    said = " and ".join(f"{name} {number}" for name, number in there.items())
    facts: dict[str, object] = {"distributions": there}
    # One that is wanted for its accelerator stays.
    extras = [each.extra for each in ACCELERATORS.values() if each.package in there and each.word != "cuda"]
    extra = "gpu" if has_nvidia_driver() else extras[0] if extras else "cpu"
    cure = providers.reinstall(extra)
    if len(there) > 1:
        summary = f"{said} are both installed: they share one folder and break each other; keep one"
        return Finding(_AREA, "onnxruntime", "fault", summary, facts, cure, ProviderError.exit_code)
    try:
        from cxr_edge.runtime.sessions import onnxruntime
    except ProviderError as error:
        return Finding(_AREA, "onnxruntime", "fault", error.problem, facts, cure, error.exit_code)
    except ImportError as error:  # NumPy is at fault, and has been named
        return Finding(_AREA, "onnxruntime", "fault", f"not loaded ({error})", facts, (), ProviderError.exit_code)
    facts["imported"] = onnxruntime.__version__
    return Finding(_AREA, "onnxruntime", "ok", said or f"{onnxruntime.__version__}, not installed by pip", facts)


def _telemetry() -> Finding:
    states = read_telemetry()
    facts = {"off": all(each.off for each in states), "libraries": {each.library: each.off for each in states}}
    told = ", ".join(each.reason for each in states)
    if facts["off"]:
        return Finding(_AREA, "telemetry", "ok", f"no library sends anything about this machine ({told})", facts)
    sends = " and ".join(each.library for each in states if not each.off)
    cure = tuple(f"set {'='.join(SWITCHES[each.library])}" for each in states if not each.off)
    return Finding(_AREA, "telemetry", "note", f"{sends} may send data about this machine ({told})", facts, cure)


def _cache() -> Finding:
    try:
        from cxr_edge.runtime.optimised import VARIABLE, find_cache
    except (CxrEdgeError, ImportError) as error:  # ONNX Runtime or NumPy is at fault, and has been named
        return Finding(_AREA, "cache", "note", f"not examined ({error})")
    cache = find_cache()
    facts = {"folder": cache.folder and str(cache.folder), "reason": cache.reason}
    if cache.folder is None:
        summary = f"none, so that every start optimises the network again: {cache.reason}"
        return Finding(_AREA, "cache", "note", summary, facts)
    summary = f"{cache.folder} keeps networks that are optimised for this machine; {VARIABLE} names another folder"
    return Finding(_AREA, "cache", "ok", summary, facts)


def examine_decoders() -> Iterator[Finding]:
    """Ask pydicom for a decoder of every compressed transfer syntax of still images (PS3.5 section 10)."""
    try:
        from pydicom import uid
        from pydicom.pixels import get_decoder
    except Exception as error:  # noqa: BLE001  # whatever breaks pydicom has been named among the packages
        yield Finding("DICOM", "decoders", "note", f"not checked: pydicom cannot be imported ({error})")
        return
    syntaxes = {
        "JPEG": [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit],
        "JPEG lossless": [uid.JPEGLossless, uid.JPEGLosslessSV1],
        "JPEG-LS": [uid.JPEGLSLossless, uid.JPEGLSNearLossless],
        "JPEG 2000": [uid.JPEG2000Lossless, uid.JPEG2000],
        "HTJ2K": [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K],
        "RLE": [uid.RLELossless],
    }
    for name, members in syntaxes.items():
        facts: dict[str, object] = {}
        without: list[str] = []
        by: set[str] = set()
        for syntax in members:
            decoder = get_decoder(syntax)
            plugins = list(decoder.available_plugins)
            facts[str(syntax)] = {"name": syntax.name, "plugins": plugins, "missing": decoder.missing_dependencies}
            by.update(plugins)
            # Each entry reads "plug-in - requires packages"; any one of them would do.
            without += [] if plugins else [each.partition(" requires ")[2] for each in decoder.missing_dependencies]
        if without:
            lacks = ", or ".join(dict.fromkeys(without))
            yield Finding("DICOM", name, "note", f"cannot be decoded; it lacks {lacks}", facts, (_DECODERS,))
        else:
            yield Finding("DICOM", name, "ok", f"decoded by {' or '.join(sorted(by))}", facts)
