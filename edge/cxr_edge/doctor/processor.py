"""The cores, the memory and the instructions of this machine, and what they mean for int8."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from cxr_edge.doctor.finding import Finding
from cxr_edge.runtime.cores import usable_cores, usable_memory

AREA = "processor"
_CPUINFO = Path("/proc/cpuinfo")
# Words of Linux → names that people know.
_X86 = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI"}
_ARM = {"asimd": "NEON", "asimddp": "dot product", "i8mm": "I8MM"}
_DOT_PRODUCTS = {"AVX-512 VNNI", "AVX-VNNI", "dot product"}


def examine_processor() -> Iterator[Finding]:
    """Look at cores, memory and instructions."""
    cores, all_cores = usable_cores(), os.cpu_count()
    summary = f"{cores} of {all_cores} may be used" + ("" if cores == all_cores else " (affinity or container limit)")
    yield Finding(AREA, "cores", "ok", summary, {"usable": cores, "present": all_cores})
    memory = usable_memory()
    said = "unknown on this operating system" if memory is None else f"{memory / 2**30:.1f} GiB may be used"
    yield Finding(AREA, "memory", "ok" if memory else "note", said, {"usable_bytes": memory})
    yield _instructions()


def _instructions() -> Finding:
    name, features = _read()
    if features is None:
        summary = "unknown on this operating system; measure whether int8 pays with cxr-edge bench"
        return Finding(AREA, "instructions", "note", summary, {"processor": name, "features": None})
    there = [feature for feature, present in features.items() if present]
    missing = [feature for feature, present in features.items() if not present]
    summary = f"{name}: {', '.join(there) or 'none'} (without {', '.join(missing) or 'nothing'}); {_int8(features)}"
    return Finding(AREA, "instructions", "ok", summary, {"processor": name, "features": features})


def _int8(features: dict[str, bool]) -> str:
    if any(features.get(name) for name in _DOT_PRODUCTS):
        return "int8 has dot-product instructions of its own: the best case for --precision int8"
    if features.get("AVX2"):
        # Without VNNI two products of 8-bit numbers are added in 16 bits, which overflow unless one has 7 bits.
        return "no VNNI: int8 gains less, and needs the 7-bit weights that the bundle has; cxr-edge bench measures it"
    return "int8 has no quick instructions here: stay with float32"


def _read() -> tuple[str, dict[str, bool] | None]:
    """Give the processor's name and which of the instruction sets that matter it has, None if nobody says."""
    names = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}.get(platform.machine().lower())
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    name = values.get("model name") or platform.processor() or platform.machine()
    words = set((values.get("flags") or values.get("Features") or "").split())
    if names is None or not words:
        return name, None
    return name, {feature: word in words for word, feature in names.items()}
