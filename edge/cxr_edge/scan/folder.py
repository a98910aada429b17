"""The output folder of a scan: held by one process, with one journal of one set of parameters."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge.results.journal import JOURNAL, Journal
from cxr_edge.results.schema import SCHEMA
from cxr_edge.scan.lock import Lock
from cxr_edge.scan.parameters import Parameters

FILE = "scan.json"


@contextmanager
def hold(path: Path, parameters: Parameters) -> Iterator[str | None]:
    """Take an output folder, new or from an earlier scan of the same parameters, for as long as the block runs.

    Yields:
        Who held it before and ended without giving it up, None if nobody did.

    Raises:
        UsageError: Another scan holds it, or it was written with other parameters.
        OutputError: It cannot be written.
    """
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
    try:
        with _writing(path):
            described = _describe(path, parameters)
        start = time.monotonic()
        yield lock.stale
        with _writing(path):
            _write(path, {**described, "seconds": round(described["seconds"] + time.monotonic() - start, 1)})
    finally:
        lock.release()


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open the journal of an output folder that is held.

    Raises:
        UsageError: It holds something else than records.
        OutputError: It cannot be written.
    """
    with _writing(path):
        opened = Journal(path)
    try:
        yield opened
    except BaseException:
        with suppress(OSError):  # what went wrong first is what to say
            opened.close()
        raise
    with _writing(path):
        opened.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror}); check its permissions and the space left"
        raise OutputError(message) from error


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
    if (path / JOURNAL).exists():
        raise UsageError(f"{path}: has a {JOURNAL} but no {FILE} that says how it was made; take another --out")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    described = {"schema": SCHEMA, **wanted, "parameters": parameters.digest, "started": started, "seconds": 0.0}
    _write(path, described)
    return described


def _write(path: Path, described: dict[str, Any]) -> None:
    write_atomically(path / FILE, (json.dumps(described, indent=1) + "\n").encode("ascii"))


def _brief(value: object) -> object:
    return f"{value['name']} {value['version']} ({value['sha256'][:12]})" if isinstance(value, dict) else value
