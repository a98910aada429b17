"""The sending end of the node: results go to each archive until it has confirmed them.

The folder of results is the outbox: what lies in it and has no mark of an archive is still to be sent there. A mark is
an empty file, made when the archive has confirmed the object by the status of its C-STORE (PS3.4 section B.2.3).
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from cxr_edge.clinic.receiving import IMPLEMENTATION, IMPLEMENTATION_VERSION
from cxr_edge.errors import UsageError
from cxr_edge.results.output import make_folder_below

_LOOK = 0.5  # seconds between two looks into the outbox
_COARSE = 2.0  # seconds within which a change may not show in a folder's time
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # seconds between two attempts; they double
_CONNECT, _ANSWER = 10.0, 60.0  # seconds that an archive may take
_MOST = 128  # presentation contexts of an association
DELIVERED = ".delivered"
"""The folder of marks in the outbox."""


@dataclass(frozen=True)
class Archive:
    """Where results go.

    Attributes:
        ae_title: What it is called.
        host: Name or address.
        port: Port.
        tls: Whether the connection is encrypted.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Archive:
        """Read ``AE@HOST:PORT``, with ``tls:`` before it for an encrypted connection.

        Raises:
            UsageError: It is something else.
        """
        read = re.fullmatch(r"(tls:)?([^@\\]+)@(\[[0-9A-Fa-f:.]+\]|[^@:\s]+):(\d{1,5})", text)
        if read is None or not 0 < int(read[4]) < 65536:
            raise UsageError(f"--send-to {text!r}; expected AE@HOST:PORT, such as PACS@10.0.0.5:104")
        return cls(check_ae_title(read[2], "--send-to"), read[3].strip("[]"), int(read[4]), read[1] is not None)

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @property
    def key(self) -> str:
        """A name for a folder."""
        plain = re.sub(r"[^A-Za-z0-9.-]", "_", str(self))
        return f"{plain}-{hashlib.sha256(str(self).encode()).hexdigest()[:8]}"


def check_ae_title(text: str, option: str) -> str:
    """Check an AE title (PS3.5 section 6.2): 1 to 16 characters of ASCII, neither control characters nor backslash.

    Raises:
        UsageError: It is none.
    """
    title = text.strip(" ")
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise UsageError(f"{option} {text!r} is no AE title; expected 1 to 16 characters of ASCII without backslash")
    return title


class Delivery(threading.Thread):
    """Sends to one archive what lies in the outbox, until it is stopped.

    Args:
        outbox: The folder of results.
        archive: Where they go.
        ae_title: What the node is called.
        tls: How connections are encrypted, where the archive's are.
        say: Takes lines for the log.
    """

    def __init__(
        self,
        outbox: Path,
        archive: Archive,
        *,
        ae_title: str,
        tls: ssl.SSLContext | None,
        say: Callable[[str], object],
    ) -> None:
        super().__init__(daemon=True)
        self._outbox, self._archive, self._tls, self._say = outbox, archive, tls, say
        self._marks = make_folder_below(outbox, Path(DELIVERED, archive.key))
        self._entity = AE(ae_title=ae_title)
        self._entity.implementation_class_uid = IMPLEMENTATION
        self._entity.implementation_version_name = IMPLEMENTATION_VERSION
        self._entity.connection_timeout = self._entity.acse_timeout = _CONNECT
        self._entity.dimse_timeout = self._entity.network_timeout = _ANSWER
        self._stopped = threading.Event()
        self._waiting: dict[str, _Attempts] = {}
        self._reach = _Attempts()
        self._seen = -1.0

    def stop(self) -> None:
        """End after the object that is being sent."""
        self._stopped.set()

    def run(self) -> None:
        """Look into the outbox and send, until `stop`."""
        while not self._stopped.wait(_LOOK):
            try:
                self._look()
                now = time.monotonic()
                due = [name for name, attempts in self._waiting.items() if attempts.next <= now]
                if due and self._reach.next <= now:
                    self._send(due)
            except OSError as error:
                self._fail(f"the outbox cannot be read or written ({error.strerror})")

    def _look(self) -> None:
        """Note what is new in the outbox."""
        changed = self._outbox.stat().st_mtime
        if changed == self._seen and time.time() - changed > _COARSE:
            return
        self._seen = changed
        for path in self._outbox.glob("*.dcm"):
            if path.name not in self._waiting and not path.name.startswith(".") and not self._mark(path.name).exists():
                self._waiting[path.name] = _Attempts()

    def _mark(self, name: str) -> Path:
        return self._marks / name.removesuffix(".dcm")

    def _send(self, names: list[str]) -> None:
        classes = {name: dcmread(self._outbox / name, stop_before_pixels=True).SOPClassUID for name in names}
        association = self._associate(set(classes.values()))
        if association is None:
            self._fail("cannot be reached, or refuses the association")
            return
        sent = 0
        try:
            for name, sop_class in classes.items():
                if self._stopped.is_set() or not association.is_established:
                    break
                sent += self._store(association, name, accepted=_accepts(association, sop_class))
        finally:
            if association.is_established:
                association.release()
        if sent:
            self._reach = _Attempts()
            self._say(f"{self._archive}: {sent} results delivered, {len(self._waiting)} wait")
        elif not self._stopped.is_set():
            self._fail("took none of the results")

    def _associate(self, classes: set[str]) -> Association | None:
        self._entity.requested_contexts = []
        for sop_class in sorted(classes)[:_MOST]:
            self._entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        association = self._entity.associate(
            self._archive.host,
            self._archive.port,
            ae_title=self._archive.ae_title,
            tls_args=(self._tls, self._archive.host) if self._tls and self._archive.tls else None,
        )
        return association if association.is_established else None

    def _store(self, association: Association, name: str, *, accepted: bool) -> bool:
        """Send one object; say whether the archive has confirmed it."""
        status = None
        if accepted:
            status = association.send_c_store(self._outbox / name).get("Status")
        if status is not None and STORAGE_SERVICE_CLASS_STATUS.get(status, ("",))[0] in {"Success", "Warning"}:
            self._mark(name).touch()
            del self._waiting[name]
            return True
        if not accepted or status is not None:
            reason = "its class is not accepted" if status is None else f"status 0x{status:04X}"
            if self._waiting[name].failed() == 1:
                self._say(f"{self._archive}: a result was refused ({reason}); it is offered again later")
        return False

    def _fail(self, problem: str) -> None:
        if self._reach.failed() == 1:
            self._say(f"{self._archive}: {problem}; {len(self._waiting)} results wait and are offered again later")


class _Attempts:
    """When something is tried again: at once, then after pauses that double."""

    def __init__(self) -> None:
        self.next = 0.0
        self._count = 0

    def failed(self) -> int:
        """Note a failure; give how many there were."""
        self._count += 1
        pause = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._count - 1, 20))
        self.next = time.monotonic() + pause
        return self._count


def _accepts(association: Association, sop_class: str) -> bool:
    return any(context.abstract_syntax == sop_class for context in association.accepted_contexts)
