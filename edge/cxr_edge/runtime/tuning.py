"""What ``cxr-edge tune`` chose for this machine, where it is kept, and whether it still holds.

A choice holds for one bundle, one kind of processor with a number of cores, and one set of versions. Where any of these
is another now, the choice is not used, and the reason is said. A choice decides how quickly answers come, never which:
see `Bounds`.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Manifest
from cxr_edge.files import write_atomically
from cxr_edge.runtime.machine import read_processor, usable_cores
from cxr_edge.runtime.openvino import installed_plugin
from cxr_edge.runtime.optimised import find_cache
from cxr_edge.runtime.providers import Provider

AUTO = "auto"
Use = Literal["once", "single", "scan", "lime"]
"""One radiograph in a process of its own; one after the other on all cores; many, one on each core; LIME's batches."""
FP32_BOUND = 0.01
"""Log-odds: the self-test lets another engine's fp32 differ by 1e-4 of the largest, which is below 100."""
_FORMAT = 2
_SUB = "tuning"


@dataclass(frozen=True)
class Bounds:
    """How far a precision's numbers may be from those of fp32: an answer nearer to a threshold is computed again.

    Attributes:
        logodds: Of the log-odds before calibration.
        gate: Of the gate's score; None where the bundle states none.
        scope: Of the log-odds of coming from elsewhere; None where the bundle states none.
    """

    logodds: float
    gate: float | None
    scope: float | None

    def cover(self, manifest: Manifest) -> bool:
        """Say whether a bound is stated for each number that decides about an answer of this bundle."""
        gate = manifest.gate
        return (gate is None or self.gate is not None) and (not gate or not gate.scope or self.scope is not None)


def stated_bounds(manifest: Manifest, precision: str) -> Bounds | None:
    """Give the bounds that a bundle states for a precision; None where it states none for the log-odds."""
    if precision == "fp32":
        return Bounds(FP32_BOUND, FP32_BOUND, FP32_BOUND)
    entry = manifest.precisions.get(precision)
    loss = {} if entry is None else entry.loss
    found = [loss.get(name) for name in ("max_logodds_error", "max_gate_error", "max_scope_error")]
    logodds, gate, scope = (
        float(each) if isinstance(each, int | float) and math.isfinite(each) else None for each in found
    )
    return None if logodds is None else Bounds(logodds, gate, scope)


class TunedEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What computes, how, and how quickly that was.

    Attributes:
        provider: ``cpu``, ``cuda``, ``openvino`` or ``directml``.
        precision: One of the bundle's.
        threads: Threads of one run.
        batch_size: Radiographs that run together.
        per_second: Radiographs in a second.
        start: Seconds to load the network in a new process, with everything cached, up to its first answer.
    """

    provider: str
    precision: str
    threads: int
    batch_size: int
    per_second: float
    start: float

    def seconds_for(self, count: int) -> float:
        """Give how long a new process takes for some radiographs."""
        return self.start + count / self.per_second

    def to_json(self) -> dict[str, object]:
        """Give all of it."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def __str__(self) -> str:
        """Say it in a few words."""
        batch = f", {self.batch_size} at a time" if self.batch_size > 1 else ""
        return f"{self.precision} on {self.provider}, {self.threads} thread{'s'[: self.threads > 1]}{batch}"


class Tuning(msgspec.Struct, frozen=True):
    """What was chosen.

    Attributes:
        about: What it holds for, see `describe_setting`.
        created: When it was measured, in UTC.
        engines: The quickest for each use.
    """

    about: dict[str, Any]
    created: str
    engines: dict[Use, TunedEngine]


@dataclass(frozen=True)
class StoredTuning:
    """What was found in the cache.

    Attributes:
        tuning: The choice, None where there is none that holds.
        reason: Why there is none; ``stored`` where there is one.
    """

    tuning: Tuning | None
    reason: str


@dataclass(frozen=True)
class Choice:
    """What is to be opened.

    Attributes:
        provider: See `open_session`.
        precision: One of the bundle's.
        threads: Threads of one run, None for every usable core.
        batch_size: Radiographs that run together, None where nothing was measured.
        exact_labels: Whether an answer near a threshold is computed again in fp32.
        reason: Why it is this one, None where it was asked for.
    """

    provider: Provider
    precision: str
    threads: int | None
    batch_size: int | None = None
    exact_labels: bool = False
    reason: str | None = None


def choose(
    bundle: Bundle,
    *,
    provider: Provider = "auto",
    precision: str = AUTO,
    threads: int | None = None,
    use: Use,
    count: int | None = None,
) -> Choice:
    """Fill in what was left to this program: by the stored choice where it fits what was asked for, else fp32.

    Args:
        bundle: An opened bundle.
        provider: As asked for.
        precision: As asked for; ``auto`` leaves it open.
        threads: As asked for.
        use: What for.
        count: How many radiographs this process answers before it ends, for ``single``: a quick start may count more
            than a quick answer. None if that is not known.
    """
    if precision != AUTO:
        return Choice(provider, precision, threads)
    stored = read_tuning(bundle)
    engines = stored.tuning.engines if stored.tuning else {}
    uses: tuple[Use, ...] = ("once", use) if use == "single" and count is not None else (use,)
    chosen = [engines[each] for each in uses if each in engines]
    if not chosen:
        known = stored.reason if stored.reason.startswith("the stored choice") else None
        return Choice(provider, "fp32", threads, reason=known)
    fitting = [each for each in chosen if provider in {"auto", each.provider}]
    if not fitting:
        return Choice(provider, "fp32", threads)
    engine = min(fitting, key=lambda each: each.seconds_for(count or 1))
    word: Provider = msgspec.convert(engine.provider, Provider)
    return Choice(word, engine.precision, threads or engine.threads, engine.batch_size, True, "chosen by tune")


def describe_setting(bundle: Bundle) -> dict[str, Any]:
    """Give all that a choice depends on."""
    from cxr_edge.runtime.sessions import onnxruntime

    versions: dict[str, object] = {
        "onnxruntime": [onnxruntime.__version__, str(onnxruntime.get_build_info())],
    }
    if plugin := installed_plugin():
        versions["onnxruntime-ep-openvino"] = plugin
    setting = {
        "format": _FORMAT,
        "bundle": bundle.digest,
        "processor": asdict(read_processor()),
        "cores": usable_cores(),
        "versions": versions,
    }
    return json.loads(json.dumps(setting))  # as it will be read back


def read_tuning(bundle: Bundle) -> StoredTuning:
    """Read the choice for a bundle, if there is one that holds for this machine as it is now."""
    path = _path(bundle)
    if path is None:
        return StoredTuning(None, f"no cache folder is used: {find_cache().reason}")
    try:
        tuning = msgspec.json.decode(path.read_bytes(), type=Tuning)
        for engine in tuning.engines.values():
            msgspec.convert(engine.provider, Provider)
    except FileNotFoundError:
        return StoredTuning(None, "nothing was measured on this machine")
    except (OSError, ValueError, RecursionError) as error:
        return StoredTuning(None, f"the stored choice cannot be read ({str(error)[:100]})")
    now = describe_setting(bundle)
    other = [name for name in now if tuning.about.get(name) != now[name]]
    if other:
        return StoredTuning(None, f"the stored choice is of another {' and '.join(other)}; run cxr-edge tune again")
    lost = [
        each.precision for each in tuning.engines.values() if stated_bounds(bundle.manifest, each.precision) is None
    ]
    if lost:
        return StoredTuning(None, f"the stored choice is {lost[0]}, for which the bundle states no loss")
    return StoredTuning(tuning, "stored")


def write_tuning(bundle: Bundle, tuning: Tuning) -> Path | None:
    """Keep a choice in the user's cache folder.

    Returns:
        The file; None where no cache folder is used.

    Raises:
        OSError: It cannot be written.
    """
    path = _path(bundle)
    if path is not None:
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(tuning)) + b"\n", mode=0o600)
    return path


def _path(bundle: Bundle) -> Path | None:
    root = find_cache().folder
    return None if root is None else root / _SUB / f"{bundle.digest[:32]}.json"
