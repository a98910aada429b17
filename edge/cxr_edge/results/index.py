"""What the journal holds, by path and by content, in a memory that does not grow with it."""

import sqlite3
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock

REFUSED = "refused: "  # no label is one


@dataclass(frozen=True)
class State:
    """What is recorded about a path.

    Attributes:
        sha256: The hash of the content that was looked at; None where none could be read.
        outcome: The label, `REFUSED`, or ``error: KIND``.
    """

    sha256: str | None
    outcome: str

    @property
    def failed(self) -> bool:
        """Whether the path could not be read; it is tried again, where a refusal stands."""
        return self.outcome.startswith("error: ")


class Index:
    """A table on the disk that SQLite deletes by itself; it is filled anew from the journal at every start.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        # An empty name means a temporary file. No journal and no commit: it never outlives the process.
        self._table = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._claimed: set[str] = set()
        self._table.execute("PRAGMA journal_mode=OFF")
        self._table.execute("CREATE TABLE path (key BLOB PRIMARY KEY, sha256 BLOB, outcome TEXT) WITHOUT ROWID")
        self._table.execute("CREATE TABLE content (sha256 BLOB PRIMARY KEY, start INT) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def add(self, path: str, state: State, start: int) -> None:
        """Note a record that begins at the byte ``start`` of the journal."""
        content = bytes.fromhex(state.sha256) if state.sha256 else None
        with self._lock:
            self._table.execute("INSERT OR REPLACE INTO path VALUES (?, ?, ?)", (_key(path), content, state.outcome))
            if content:
                self._table.execute("INSERT OR REPLACE INTO content VALUES (?, ?)", (content, start))
                self._claimed.discard(content.hex())

    def state(self, path: str) -> State | None:
        """Give what is recorded about a path, None if nothing is."""
        query = "SELECT sha256, outcome FROM path WHERE key = ?"
        with self._lock:
            row = self._table.execute(query, (_key(path),)).fetchone()
        return State(row[0].hex() if row[0] else None, row[1]) if row else None

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

    def _start(self, sha256: str) -> int | None:
        query = "SELECT start FROM content WHERE sha256 = ?"
        row = self._table.execute(query, (bytes.fromhex(sha256),)).fetchone()
        return row[0] if row else None


def _key(path: str) -> bytes:
    return blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()
