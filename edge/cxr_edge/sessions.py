"""The one place where ONNX Runtime sessions are made, and where it is said what they really run on."""

import math
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import onnxruntime
from numpy.typing import NDArray

from cxr_edge.errors import BundleError, ProviderError, UsageError

Provider = Literal["auto", "cpu", "cuda"]
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CURE = (
    'install the GPU build alone (pip uninstall -y onnxruntime onnxruntime-gpu; pip install "cxr-edge[gpu]") on a'
    " machine with an NVIDIA driver, or take --provider cpu"
)


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded network.

    Attributes:
        inference: The ONNX Runtime session.
        provider: What it really runs on, ``cpu`` or ``cuda``.
        reason: Why it is that one.
        threads: Threads that one run may use.
    """

    inference: onnxruntime.InferenceSession
    provider: str
    reason: str
    threads: int

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Compute the named outputs."""
        values: list[NDArray[Any]] = self.inference.run(outputs, inputs)
        return values


def open_session(model: bytes | Path, *, provider: Provider = "auto", threads: int | None = None) -> Session:
    """Load a network.

    ONNX Runtime lists CUDA as available even where its libraries are missing, and then quietly runs on the CPU;
    what the opened session says is what counts.

    Args:
        model: The ONNX file's bytes (`Bundle.model` gives checked ones) or its path.
        provider: ``cpu``; ``cuda``, which runs on CUDA or fails; ``auto``, which takes CUDA if it starts.
        threads: Threads for one run; None takes every core this process may use.

    Raises:
        ProviderError: CUDA was asked for and does not start.
        BundleError: The bytes are no network that this ONNX Runtime can load.
        UsageError: An unknown provider or fewer than one thread.
    """
    if provider not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"provider {provider!r}; expected auto, cpu or cuda")
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads; expected at least 1")
    threads = threads or usable_cores()
    if provider == "cpu":
        return Session(_open(model, [_CPU], threads), "cpu", "asked for", threads)
    if _CUDA not in onnxruntime.get_available_providers():
        reason = "this ONNX Runtime is built without CUDA"
    else:
        # Preloading prints what it misses, to where the results go.
        with redirect_stdout(StringIO()) as missed:
            onnxruntime.preload_dlls()
        onnxruntime.set_default_logger_severity(4)  # a start that fails is told below, with its cure
        inference = _open(model, [_CUDA, _CPU], threads)
        onnxruntime.set_default_logger_severity(2)
        if inference.get_providers()[0] == _CUDA:
            return Session(inference, "cuda", "asked for" if provider == "cuda" else "CUDA started", threads)
        reason = (
            f"CUDA did not start ({missed.getvalue().partition(chr(10))[0] or 'no driver, or not a supported GPU'})"
        )
    if provider == "cuda":
        raise ProviderError(f"CUDA was asked for, but {reason}; {_CURE}")
    return Session(_open(model, [_CPU], threads), "cpu", reason, threads)


def _open(model: bytes | Path, providers: list[str], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is said by the error, with its cure
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exception types share no base
        raise BundleError(f"ONNX Runtime {onnxruntime.__version__} cannot load the network: {error}") from error


def usable_cores() -> int:
    """Count the cores that this process may use: its CPU affinity, cut by a container's quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores
