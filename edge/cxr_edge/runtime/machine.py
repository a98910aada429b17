"""The machine that this process runs on: processor, cores, memory, accelerator, system and versions.

Nothing here names the machine or a person. Importing this module costs next to nothing, because caches are keyed by
`Processor` before anything is loaded.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr_edge.errors import UsageError

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_RADIOGRAPH = 10 * 2**20  # bytes that a run of the network needs for each radiograph: 6.7 MB were measured


def usable_cores() -> int:
    """Count the cores that this process may use: its CPU affinity, cut by its container's quota (cgroup v1 or v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu"):
        words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit():  # else "max" or -1: no quota
            cores = min(cores, math.ceil(int(words[0]) / int(words[1])))
    return max(1, cores)


def usable_memory() -> int | None:
    """Give the bytes of memory that this process may use, None where the operating system does not say."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for folder in _control_groups("memory"):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        if words and words[0].isdigit():
            memory = min(memory, int(words[0]))
    return memory


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that this process cannot run at the same time; None takes every usable core.

    Raises:
        UsageError: Fewer than one, or more than the cores that it may use.
    """
    cores = usable_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise UsageError(f"{threads} threads; expected 1 to {cores}, the cores that this process may use")


def check_batch_size(size: int, *, workers: int = 1) -> None:
    """Refuse a batch whose run would need more than half of the memory that this process may use.

    Args:
        size: Radiographs in a batch.
        workers: Batches at the same time.

    Raises:
        UsageError: Fewer than one radiograph, or more than the memory is good for.
    """
    memory = usable_memory()
    largest = None if memory is None else max(1, memory // 2 // _RADIOGRAPH // workers)
    if size < 1 or (largest and size > largest):
        bound = "1 or more" if largest is None else f"1 to {largest}, which half of the usable memory is good for"
        raise UsageError(f"a batch of {size} radiographs; expected {bound}")


def _control_groups(controller: str) -> Iterator[Path]:
    """Give the folders whose limits bind this process: its own group's and those of all groups above it.

    Inside a container the path that the kernel states may be the host's, which is not there; the root folder is then
    the container's own group.
    """
    yield _ROOT
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", controller} or controller in controllers.split(","):
            base = _ROOT / controller if controllers else _ROOT
            own = base / path.strip("/")
            yield own
            yield from (above for above in own.parents if above.is_relative_to(base) and above != _ROOT)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


_CPUINFO = Path("/proc/cpuinfo")
# Flags of Linux → names of the instruction sets that decide how quickly a precision is computed.
_X86 = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
}
_ARM = {"asimd": "NEON", "asimddp": "dot product", "i8mm": "I8MM", "bf16": "BF16"}
_KNOWN = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}
_INT8 = {"AVX-VNNI", "AVX-512 VNNI", "AMX-INT8", "dot product", "I8MM"}
_BF16 = {"AVX-512 BF16", "AMX-BF16", "BF16"}
_DISTRIBUTIONS = (
    "cxr-edge",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-ep-openvino",
    "onnxruntime-directml",
    "pydicom",
)


@dataclass(frozen=True)
class Processor:
    """A kind of processor; equal ones compute equally.

    Attributes:
        model: As it calls itself.
        architecture: ``x86_64``, say.
        instruction_sets: Those of `known_instruction_sets` that it has; None where the operating system does not say.
    """

    model: str
    architecture: str
    instruction_sets: tuple[str, ...] | None

    @property
    def known_instruction_sets(self) -> tuple[str, ...]:
        """The instruction sets of its architecture that decide how quickly a precision is computed."""
        return tuple(_KNOWN.get(self.architecture.lower(), {}).values())

    @property
    def multiplies_int8(self) -> bool | None:
        """Whether it adds products of 8-bit integers in one instruction; None where that is not known."""
        return None if self.instruction_sets is None else not _INT8.isdisjoint(self.instruction_sets)

    @property
    def multiplies_bf16(self) -> bool | None:
        """Whether it adds products of bfloat16 numbers in one instruction; None where that is not known."""
        return None if self.instruction_sets is None else not _BF16.isdisjoint(self.instruction_sets)


@dataclass(frozen=True)
class Machine:
    """Where figures were taken.

    Attributes:
        processor: The model of the CPU, as it calls itself.
        architecture: See `Processor`.
        cores: Logical cores of the machine.
        usable_cores: Those that this process may use.
        accelerator: The model of the first GPU, where CUDA computed; None elsewhere.
        system: The operating system.
        release: Its version.
        python: The version of Python.
        packages: Version of each distribution that computes.
        load: Processes that wanted a core, on average over the last minute; None where the system does not say.
        instruction_sets: See `Processor`; None also where an earlier version wrote the record.
        usable_memory: Bytes that this process may use; None where nobody said.
    """

    processor: str
    architecture: str
    cores: int
    usable_cores: int
    accelerator: str | None
    system: str
    release: str
    python: str
    packages: Mapping[str, str]
    load: float | None
    instruction_sets: tuple[str, ...] | None = None
    usable_memory: int | None = None

    @property
    def busy(self) -> bool:
        """Whether other programs kept half a core or more from this process."""
        return self.load is not None and self.load > self.cores - self.usable_cores + 0.5

    def __str__(self) -> str:
        gpu = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.processor} ({self.architecture}), {self.usable_cores} of {self.cores} cores, {self.system}{gpu}"

    def is_like(self, other: Machine) -> bool:
        """Say whether figures of both belong to one kind of machine, whatever its versions and its load."""
        known = self.instruction_sets is not None and other.instruction_sets is not None
        return str(self) == str(other) and (not known or self.instruction_sets == other.instruction_sets)

    def to_json(self) -> dict[str, object]:
        """Give all of it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Machine:
        """Read what `to_json` gave, also that of earlier versions.

        Raises:
            msgspec.ValidationError: A part is missing or of another type.
        """
        import msgspec

        return msgspec.convert(record, cls)


def read_processor() -> Processor:
    """Read what the processor calls itself and which instructions it has."""
    architecture = platform.machine()
    facts: dict[str, str] = {}
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if not key.strip():  # the block of the first core ends here; the others are alike
                    break
                facts[key.strip()] = value.strip()
    except OSError:  # not on Linux
        pass
    model = facts.get("model name", "")
    if not model and "CPU part" in facts:  # what Linux says on ARM
        model = f"implementer {facts.get('CPU implementer', 'unknown')}, part {facts['CPU part']}"
    model = model or platform.processor() or architecture or "unknown"
    known, flags = _KNOWN.get(architecture.lower()), (facts.get("flags") or facts.get("Features") or "").split()
    sets = None if known is None or not flags else tuple(name for flag, name in known.items() if flag in flags)
    return Processor(model, architecture, sets)


def read_machine(*, cuda: bool = False) -> Machine:
    """Read what this process runs on.

    Args:
        cuda: Whether CUDA computes: then the GPU is named, which starts a process.
    """
    from importlib.metadata import PackageNotFoundError, version  # not before somebody asks: it takes its time

    packages = {}
    for name in _DISTRIBUTIONS:
        try:
            packages[name] = str(version(name))
        except (PackageNotFoundError, KeyError, TypeError):  # what an interrupted pip leaves behind has no version
            continue
    processor = read_processor()
    return Machine(
        processor=processor.model,
        architecture=processor.architecture,
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        accelerator=_gpu() if cuda else None,
        system=platform.system(),
        release=platform.release(),
        python=platform.python_version(),
        packages=packages,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        instruction_sets=processor.instruction_sets,
        usable_memory=usable_memory(),
    )


def _gpu() -> str:
    import subprocess

    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603  # no input
    except (OSError, subprocess.SubprocessError):
        return "unnamed GPU"
    return done.stdout.strip() or "unnamed GPU"
