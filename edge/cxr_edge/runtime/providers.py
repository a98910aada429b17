"""The execution providers besides the CPU: what they are called, how they are set up, what they lack if they fail.

``auto`` tries CUDA alone, unless ``cxr-edge tune`` chose for this machine. OpenVINO's fp32 is no faster than that of
ONNX Runtime itself, and what DirectML finds may be an integrated GPU that is slower than the CPU: both run where they
are asked for by name, or where they were measured to be quicker.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from cxr_edge.errors import ProviderError
from cxr_edge.runtime.machine import read_processor

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
        if name.startswith(("onnxruntime", "ort-")) and not name.startswith("onnxruntime-ep-"):  # these are plug-ins
            files = each.files  # None where the installer kept no list: then the name has to do
            if files is None or any(file.parts[0] == "onnxruntime" for file in files):
                found[name] = number
    return dict(sorted(found.items()))


def reinstall(extra: str) -> tuple[str, ...]:
    """Give the lines to type that leave exactly one ONNX Runtime.

    Args:
        extra: The extra of this package that brings it: ``cpu``, ``gpu`` or ``directml``.
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


BF16 = "bf16"
"""The precision that has no file of its own: fp32's network, whose products are computed with bfloat16 factors."""


def bf16_obstacle(provider: str) -> str | None:
    """Say what keeps a provider from computing in bf16 here; None if nothing does, as far as the processor goes."""
    if provider != "openvino":
        return f"{provider} does not compute this network in bf16, OpenVINO does"
    processor = read_processor()
    if not processor.multiplies_bf16:
        return f"{processor.model} has no instructions for bf16 (AMX or AVX-512 BF16)"
    return None


Provider = Literal["auto", "cpu", "cuda", "openvino", "openvino:gpu", "openvino:npu", "directml"]
Started = Literal["cpu", "cuda", "openvino", "openvino:gpu", "openvino:npu", "directml"]

_WINDOWS = sys.platform == "win32"
_DRIVER = "nvcuda.dll" if _WINDOWS else "libcuda.so.1"
_CUDA_LIBRARY = "onnxruntime_providers_cuda.dll" if _WINDOWS else "libonnxruntime_providers_cuda.so"


@dataclass(frozen=True)
class Accelerator:
    """An execution provider.

    Attributes:
        word: Its name on the command line and in results.
        title: Its name in sentences.
        provider: Its name in ONNX Runtime.
        package: The distribution that has it.
        extra: The extra of this package that brings the distribution.
        options: Threads → what ONNX Runtime is told about it.
        device: Where inputs and outputs stay between runs, in ONNX Runtime's words; None has it copy each time.
        memory_pattern: Whether it lets memory be planned ahead.
        hardware: Where it is a plug-in beside the stock ONNX Runtime: the kind of device, ``CPU``, ``GPU`` or ``NPU``.
    """

    word: Started
    title: str
    provider: str
    package: str
    extra: str
    options: Callable[[int], dict[str, str]]
    device: str | None = None
    memory_pattern: bool = True
    hardware: str | None = None

    @property
    def absent(self) -> str:
        """What is to be said where ONNX Runtime does not have it."""
        if self.hardware:
            return f"the plug-in {self.package} is not installed"
        return f"this ONNX Runtime is built without {self.title}"


@dataclass(frozen=True)
class Obstacle:
    """Why an accelerator does not run.

    Attributes:
        reason: What is the matter, as part of a sentence.
        cure: Lines to type, or what else to do.
    """

    reason: str
    cure: tuple[str, ...]


_OPENVINO: tuple[tuple[Started, str, str], ...] = (
    ("openvino", "OpenVINO", "CPU"),
    ("openvino:gpu", "OpenVINO on the GPU", "GPU"),
    ("openvino:npu", "OpenVINO on the NPU", "NPU"),
)
ACCELERATORS: dict[str, Accelerator] = {
    each.word: each
    for each in (
        Accelerator(
            "cuda",
            "CUDA",
            "CUDAExecutionProvider",
            "onnxruntime-gpu",
            "gpu",
            # The exhaustive search of the default times every convolution anew for every batch size. TF32 keeps 10 bits
            # of the mantissa: answers would differ from the CPU's by more than the self-test allows.
            lambda _: {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
            device="cuda",
        ),
        *(
            Accelerator(
                word,
                title,
                "OpenVINOExecutionProvider",
                "onnxruntime-ep-openvino",
                "openvino",
                lambda _: {},  # see `cxr_edge.runtime.openvino.settings_of`
                hardware=hardware,
            )
            for word, title, hardware in _OPENVINO
        ),
        Accelerator(
            "directml",
            "DirectML",
            "DmlExecutionProvider",
            "onnxruntime-directml",
            "directml",
            lambda _: {},
            memory_pattern=False,
        ),
    )
}


def has_nvidia_driver() -> bool:
    """Say whether the library is there that the NVIDIA driver brings."""
    return _misses(_DRIVER) is None


def not_built_in(accelerator: Accelerator) -> Obstacle:
    """Explain that the ONNX Runtime at hand is built without an accelerator."""
    reason = accelerator.absent
    if accelerator.hardware:
        return Obstacle(reason, (f'python -m pip install "cxr-edge[{accelerator.extra}]"',))
    if accelerator.package in installed():
        others = " and ".join(installed())
        reason += f": {others} are both installed, share one folder and break each other"
    return Obstacle(reason, reinstall(accelerator.extra))


def did_not_start(accelerator: Accelerator, said: str, *, folder: Path) -> Obstacle:
    """Explain why an accelerator that is built in does not start.

    Args:
        accelerator: The accelerator.
        said: What ONNX Runtime printed or raised.
        folder: ONNX Runtime's folder ``capi``, with the libraries of its providers.
    """
    if accelerator.word != "cuda":
        first = said.strip().partition("\n")[0] or "ONNX Runtime does not say why"
        return Obstacle(f"{accelerator.title} did not start: {first}", reinstall(accelerator.extra))
    missing = _missing_for_cuda(said, folder)
    cure = ['python -m pip install "onnxruntime-gpu[cuda,cudnn]"'] if set(missing) - {_DRIVER} else []
    if _DRIVER in missing:
        cure.append("install the NVIDIA driver, on a machine with an NVIDIA GPU")
    if missing:
        names = ", ".join(f"{name} of the NVIDIA driver" if name == _DRIVER else name for name in missing)
        return Obstacle(f"CUDA did not start: missing {names}", tuple(cure))
    first = said.strip().partition("\n")[0] or "no GPU answers, or it is one that this ONNX Runtime does not support"
    return Obstacle(f"CUDA did not start: {first}", ("nvidia-smi",))


def _missing_for_cuda(said: str, folder: Path) -> list[str]:
    """Name the libraries that CUDA lacks: those that ONNX Runtime missed, and those that the loader misses."""
    missing: list[str | None] = [Path(name).name for name in re.findall(r"Failed to load (\S+?):? ", said)]
    missing += [_misses(str(folder / _CUDA_LIBRARY)), _misses(_DRIVER)]
    return list(dict.fromkeys(name for name in missing if name is not None and name != _CUDA_LIBRARY))


def _misses(library: str) -> str | None:
    """Load a library; give the name of what the loader misses, None if it misses nothing.

    The loader of Linux names the first library that is not there; that of Windows names what was asked for.
    """
    try:
        ctypes.CDLL(library)
    except OSError as error:
        named = re.match(r"(\S+\.so\S*): cannot open", str(error))
        return Path(named[1] if named else library).name
    return None
