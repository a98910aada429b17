"""What a journal holds, by path and by content, and ``scan.json``: what its records depend on.

The index takes a memory that does not grow with the journal. A journal holds records of one set of parameters only;
which reports are written is no part of these: they derive from the records, and another one can be asked for later.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from cxr_edge.errors import UsageError
from cxr_edge.files import write_atomically
from cxr_edge.results.expectation import PointRecord
from cxr_edge.results.output import file_mode
from cxr_edge.results.schema import RECORD_SCHEMA, Answered, BundleRecord, Count, Failed, Finite, Record

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
        precision: ``fp32``, ``int8`` or ``bf16``.
        operating_point: The name of the threshold.
        gate: Whether what is no chest radiograph is refused.
        batch_size: Inputs that go through the network together; the last digits of an answer depend on it.
        explain: Which explanations.
        explain_if: Whether every answer is explained or only positive ones.
        test_time_augmentation: Whether answers say how far small changes move them.
        unsure: Whether ``UNSURE`` is an answer.
        prevalence: What probabilities are re-weighed to; None leaves the bundle's.
        exact_labels: Whether answers near a threshold are computed again in fp32.
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
    unsure: bool = True
    prevalence: float | None = None
    exact_labels: bool = False

    @property
    def digest(self) -> str:
        """A short hash that every record carries, the same for both engines."""
        values = {**msgspec.to_builtins(self), "engine": None}
        later = {"unsure": True, "prevalence": None, "exact_labels": False}  # without these as earlier releases had it
        values = {name: value for name, value in values.items() if name not in later or value != later[name]}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Description(Struct, frozen=True, kw_only=True):
    """What ``scan.json`` says.

    Attributes:
        asked: The parameters.
        started: When the scan began first, in UTC.
        seconds: How long all its runs took together.
        pictures: Whether thumbnails were asked for in any of them.
        point: What the bundle states about the operating point; None in earlier scans and of a cluster's.
        schema: The number of the records' schema.
    """

    asked: Parameters
    started: str
    seconds: Finite
    pictures: bool = False
    point: PointRecord | None = None
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


@dataclass(frozen=True)
class State:
    """What is recorded about a path.

    Attributes:
        sha256: The hash of the content that was looked at; None where none could be read.
        status: What became of it.
        label: The label of an answer.
        kind: The kind of a failure.
    """

    sha256: str | None
    status: Literal["ok", "refused", "error"]
    label: str | None = None
    kind: str | None = None

    @classmethod
    def of(cls, record: Record) -> State:
        """Sum up a record."""
        sha256 = record.sha256 or None
        if isinstance(record, Failed):
            return cls(sha256, "error", kind=record.error.kind)
        return cls(sha256, "ok", record.label) if isinstance(record, Answered) else cls(sha256, "refused")

    @property
    def failed(self) -> bool:
        """Whether the path could not be answered; it is tried again, where a refusal stands."""
        return self.status == "error"


class Index:
    """Tables on the disk that SQLite deletes by itself; they are filled anew from the journal at every start.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        # An empty name means a temporary file. No journal and no commit: it never outlives the process.
        self._table = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._claimed: set[str] = set()
        self._table.execute("PRAGMA journal_mode=OFF")
        columns = "key BLOB PRIMARY KEY, sha256 BLOB, status TEXT, label BLOB, kind BLOB"
        for table in ("path", "counted"):
            self._table.execute(f"CREATE TABLE {table} ({columns}) WITHOUT ROWID")
        self._table.execute("CREATE TABLE content (sha256 BLOB PRIMARY KEY, start INT) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def add(self, path: str, state: State, start: int) -> None:
        """Note a record that begins at the byte ``start`` of the journal."""
        with self._lock:
            self._put("path", path, state)
            if state.sha256:
                content = bytes.fromhex(state.sha256)
                self._table.execute("INSERT OR REPLACE INTO content VALUES (?, ?)", (content, start))
                self._claimed.discard(state.sha256)

    def state(self, path: str) -> State | None:
        """Give what is recorded about a path, None if nothing is."""
        with self._lock:
            return self._get("path", path)

    def count(self, path: str, state: State) -> State | None:
        """Note what a path counts as in this run; give what it counted as before, None if it is new in this run."""
        with self._lock:
            before = self._get("counted", path)
            self._put("counted", path, state)
        return before

    def failed(self, path: str) -> bool:
        """Say whether a failure is recorded for a path."""
        state = self.state(path)
        return state is not None and state.failed

    def start(self, sha256: str) -> int | None:
        """Give where the journal has a record of this content, None if it has none."""
        with self._lock:
            return self._start(sha256)

    def claim(self, sha256: str) -> bool:
        """Take a content on; False if it is recorded already or another thread has taken it on."""
        with self._lock:
            if sha256 in self._claimed or self._start(sha256) is not None:
                return False
            self._claimed.add(sha256)
            return True

    def close(self) -> None:
        """Delete the table."""
        self._table.close()

    def _put(self, table: Literal["path", "counted"], path: str, state: State) -> None:
        sha256 = bytes.fromhex(state.sha256) if state.sha256 else None
        row = (_key(path), sha256, state.status, _packed(state.label), _packed(state.kind))
        self._table.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608  # two names

    def _get(self, table: Literal["path", "counted"], path: str) -> State | None:
        query = f"SELECT sha256, status, label, kind FROM {table} WHERE key = ?"  # noqa: S608  # two names
        row = self._table.execute(query, (_key(path),)).fetchone()
        if row is None:
            return None
        sha256, status, label, kind = row
        return State(sha256.hex() if sha256 else None, status, _unpacked(label), _unpacked(kind))

    def _start(self, sha256: str) -> int | None:
        query = "SELECT start FROM content WHERE sha256 = ?"
        row = self._table.execute(query, (bytes.fromhex(sha256),)).fetchone()
        return row[0] if row else None


def _key(path: str) -> bytes:
    return blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _packed(text: str | None) -> bytes | None:
    """Write text as bytes: SQLite's own text has no lone surrogates, and JSON may."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _unpacked(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogatepass")
