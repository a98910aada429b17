"""What the records of a scan depend on: a journal holds records of one set of parameters only."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from cxr_edge.runtime.providers import Started

Explain = Literal["none", "gradcam", "lime", "both"]
ExplainIf = Literal["positive", "all"]
Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class Parameters:
    """The parameters.

    Attributes:
        engine: ``local``, or ``ray``, which keeps its records elsewhere.
        bundle: Name, version and SHA-256 of the bundle that answers.
        provider: What really computes, `Session.provider`.
        precision: ``fp32`` or ``int8``.
        operating_point: The name of the threshold.
        gate: Whether what is no chest radiograph is refused.
        batch_size: Inputs that go through the network together; the last digits of an answer depend on it.
        explain: Which explanations.
        explain_if: Whether every answer is explained or only positive ones.
        pictures: Whether thumbnails, heat maps and figures are written for the report.
        test_time_augmentation: Whether answers say how far small changes move them.
    """

    engine: Engine
    bundle: dict[str, str]
    provider: Started
    precision: str
    operating_point: str
    gate: bool
    batch_size: int
    explain: Explain
    explain_if: ExplainIf
    pictures: bool
    test_time_augmentation: bool = False

    @property
    def digest(self) -> str:
        """A short hash that every record carries, the same for both engines."""
        values = {**asdict(self), "engine": None}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, object]:
        """Give the parameters as ``scan.json`` holds them."""
        return asdict(self)
