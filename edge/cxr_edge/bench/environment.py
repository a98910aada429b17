"""The machine and the versions that figures belong to."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cxr_edge.runtime.sessions import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("cxr-edge", "numpy", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "pydicom")


@dataclass(frozen=True)
class Environment:
    """Where figures were taken; no name of the machine or of a person.

    Attributes:
        processor: The model of the CPU, as it calls itself.
        architecture: ``x86_64``, say.
        cores: Logical cores of the machine.
        usable_cores: Those that this process may use.
        accelerator: The model of the first GPU, where CUDA computed; None elsewhere.
        system: The operating system.
        release: Its version.
        python: The version of Python.
        packages: Version of each distribution that computes.
        load: Processes that wanted a core, on average over the minute before the measurement; None where the system
            does not say.
    """

    processor: str
    architecture: str
    cores: int
    usable_cores: int
    accelerator: str | None
    system: str
    release: str
    python: str
    packages: dict[str, str]
    load: float | None

    @property
    def machine(self) -> str:
        """What has to be equal for two figures to be of one machine."""
        gpu = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.processor} ({self.architecture}), {self.usable_cores} of {self.cores} cores, {self.system}{gpu}"

    @property
    def busy(self) -> bool:
        """Whether other programs kept half a core or more from us."""
        return self.load is not None and self.load > self.cores - self.usable_cores + 0.5

    def to_json(self) -> dict[str, object]:
        """Give all of it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Environment":
        """Read what `to_json` gave.

        Raises:
            KeyError: A part is missing.
        """
        gpu, load = record["accelerator"], record["load"]
        return cls(
            processor=str(record["processor"]),
            architecture=str(record["architecture"]),
            cores=int(record["cores"]),
            usable_cores=int(record["usable_cores"]),
            accelerator=None if gpu is None else str(gpu),
            system=str(record["system"]),
            release=str(record["release"]),
            python=str(record["python"]),
            packages={str(name): str(value) for name, value in dict(record["packages"]).items()},
            load=None if load is None else float(load),
        )


def look_around(*, cuda: bool) -> Environment:
    """Read the environment of this process.

    Args:
        cuda: Whether CUDA is among what is measured: then the GPU is named.
    """
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Environment(
        processor=_processor(),
        architecture=platform.machine(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        accelerator=_gpu() if cuda else None,
        system=platform.system(),
        release=platform.release(),
        python=platform.python_version(),
        packages=packages,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine() or "unknown"


def _gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603  # no input
    except (OSError, subprocess.SubprocessError):
        return "unnamed GPU"
    return done.stdout.strip() or "unnamed GPU"
