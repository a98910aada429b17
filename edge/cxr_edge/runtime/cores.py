"""What this process may use of the machine: cores and memory, cut by what its container allows."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

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
