"""``scan.json``: what the records of a scan depend on. A journal holds records of one set of parameters only.

Which reports are written is no part of it: they derive from the records, and another one can be asked for later.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from cxr_edge.errors import UsageError
from cxr_edge.files import write_atomically
from cxr_edge.results.output import file_mode
from cxr_edge.results.schema import RECORD_SCHEMA, BundleRecord, Count, Finite

DESCRIPTION = "scan.json"

Explain = Literal["none", "gradcam", "lime", "both"]
ExplainIf = Literal["positive", "all"]
Engine = Literal["local", "ray"]


class Parameters(Struct, frozen=True, kw_only=True):
    """The parameters.

    Attributes:
        engine: ``local``, or ``ray``, which keeps its records elsewhere.
        bundle: The bundle that answers.
        provider: What really computes, `Session.provider`.
        precision: ``fp32`` or ``int8``.
        operating_point: The name of the threshold.
        gate: Whether what is no chest radiograph is refused.
        batch_size: Inputs that go through the network together; the last digits of an answer depend on it.
        explain: Which explanations.
        explain_if: Whether every answer is explained or only positive ones.
        test_time_augmentation: Whether answers say how far small changes move them.
    """

    engine: Engine
    bundle: BundleRecord
    provider: str
    precision: str
    operating_point: str
    gate: bool
    batch_size: Count
    explain: Explain
    explain_if: ExplainIf
    test_time_augmentation: bool = False

    @property
    def digest(self) -> str:
        """A short hash that every record carries, the same for both engines."""
        values = {**msgspec.to_builtins(self), "engine": None}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Description(Struct, frozen=True, kw_only=True):
    """What ``scan.json`` says.

    Attributes:
        asked: The parameters.
        started: When the scan began first, in UTC.
        seconds: How long all its runs took together.
        pictures: Whether thumbnails were asked for in any of them.
        schema: The number of the records' schema.
    """

    asked: Parameters
    started: str
    seconds: Finite
    pictures: bool = False
    schema: Literal[1, 2] = RECORD_SCHEMA

    def write(self, folder: Path) -> None:
        """Write ``scan.json`` into an output folder.

        Raises:
            OSError: It cannot be written.
        """
        values = msgspec.to_builtins(self)
        flat = {"schema": RECORD_SCHEMA, **values.pop("asked"), "parameters": self.asked.digest, **values}
        write_atomically(
            folder / DESCRIPTION, (json.dumps(flat, indent=1) + "\n").encode("ascii"), mode=file_mode(folder)
        )


def read_description(folder: Path) -> Description | None:
    """Read ``scan.json`` of an output folder, of this release or the first; None if there is none.

    Raises:
        UsageError: It is damaged; the message says where.
        OSError: It cannot be read.
    """
    path = folder / DESCRIPTION
    try:
        values: Any = json.loads(path.read_bytes())
        if isinstance(values, dict):
            values = {**values, "asked": values}
        return msgspec.convert(values, Description)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        fault = "nested too deep" if isinstance(error, RecursionError) else error
        cure = "restore it, or take another --out"
        raise UsageError(f"no description of a scan ({str(fault)[:200]})", cure=cure, path=path) from error


def differences(before: Parameters, now: Parameters) -> list[str]:
    """Say which parameters differ, in words."""
    old, new = asdict(before), asdict(now)
    return [f"{name} was {_brief(old[name])}, now {_brief(new[name])}" for name in new if old[name] != new[name]]


def _brief(value: object) -> object:
    return f"{value.name} {value.version} ({value.sha256[:12]})" if isinstance(value, BundleRecord) else value
