"""What the libraries underneath would send about this machine, and how they are kept from it.

ONNX Runtime's official packages, from 1.31 on at the latest, write a device identifier and a store of events into the
user's cache folder and send them to their maker unless ``ORT_DISABLE_TELEMETRY`` is set before the import. Ray sends
usage statistics unless ``RAY_USAGE_STATS_ENABLED`` is 0 when it starts.
"""

import os
import sys
from dataclasses import dataclass

SWITCHES = {"onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"), "ray": ("RAY_USAGE_STATS_ENABLED", "0")}
"""The environment variable by which each library is told, with its value."""
IMPORTED_BEFORE = frozenset(SWITCHES) & sys.modules.keys()
"""Those of these libraries that somebody imported before this package."""


@dataclass(frozen=True)
class Telemetry:
    """Whether a library sends data.

    Attributes:
        library: The name that it is imported by.
        off: Whether it was kept from it.
        reason: Why it is off or on, in words.
    """

    library: str
    off: bool
    reason: str


def switch_off() -> None:
    """Tell the libraries to send nothing; a variable that the user has set stays as it is."""
    for name, value in SWITCHES.values():
        os.environ.setdefault(name, value)


def read_telemetry() -> tuple[Telemetry, ...]:
    """Say of each library that would send data whether it is kept from it in this process."""
    return tuple(_read(library, *switch) for library, switch in SWITCHES.items())


def _read(library: str, name: str, value: str) -> Telemetry:
    set_to = os.environ.get(name)
    if set_to != value:
        return Telemetry(library, False, f"{name} is {'not set' if set_to is None else ascii(set_to)}")
    if library == "onnxruntime" and library in IMPORTED_BEFORE:
        return Telemetry(library, False, f"it was imported before {name} was set")
    return Telemetry(library, True, f"{name}={value} is set")
