"""The output folder of a scan: held by one process, with one journal of one set of parameters."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge.records import SCHEMA
from cxr_edge.scan import journal
from cxr_edge.scan.journal import Journal
from cxr_edge.scan.lock import Lock
from cxr_edge.scan.parameters import Parameters

FILE = "scan.json"


@dataclass(frozen=True)
class OutputFolder:
    """An output folder that this process holds.

    Attributes:
        path: The folder.
        journal: Its records.
        stale: Who left a lock behind, if somebody did.
    """

    path: Path
    journal: Journal
    stale: str | None


@contextmanager
def hold(path: Path, parameters: Parameters) -> Iterator[OutputFolder]:
    """Take an output folder, new or from an earlier scan of the same parameters, for as long as the block runs.

    Raises:
        UsageError: Another scan holds it, or it was written with other parameters.
        OutputError: It cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        try:
            described = _describe(path, parameters)
            opened = Journal(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        start = time.monotonic()
        try:
            yield OutputFolder(path, opened, lock.stale)
        except BaseException:
            with suppress(OSError):  # what went wrong first is what to say
                _finish(path, opened, described, start)
            raise
        try:
            _finish(path, opened, described, start)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        lock.release()


def _describe(path: Path, parameters: Parameters) -> dict[str, Any]:
    """Check ``scan.json`` against the parameters, or write a new one."""
    wanted = parameters.to_json()
    if (path / FILE).exists():
        try:
            found = json.loads((path / FILE).read_bytes())
            differing = [name for name, value in wanted.items() if found[name] != value]
            found["seconds"] += 0.0
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path / FILE}: not written by this version of cxr-edge; take another --out") from error
        if differing:
            changes = "; ".join(f"{name} was {_brief(found[name])}, now {_brief(wanted[name])}" for name in differing)
            raise UsageError(f"{path}: scanned with other parameters ({changes}); scan as before or take another --out")
        return found
    if (path / journal.FILE).exists():
        raise UsageError(f"{path}: has a {journal.FILE} but no {FILE} that says how it was made; take another --out")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    described = {"schema": SCHEMA, **wanted, "parameters": parameters.digest, "started": started, "seconds": 0.0}
    _write(path, described)
    return described


def _finish(path: Path, opened: Journal, described: dict[str, Any], start: float) -> None:
    opened.close()
    _write(path, {**described, "seconds": round(described["seconds"] + time.monotonic() - start, 1)})


def _write(path: Path, described: dict[str, Any]) -> None:
    write_atomically(path / FILE, (json.dumps(described, indent=1) + "\n").encode("ascii"))


def _brief(value: object) -> object:
    return f"{value['name']} {value['version']} ({value['sha256'][:12]})" if isinstance(value, dict) else value


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); check its permissions and the space left")
