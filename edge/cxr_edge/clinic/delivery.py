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
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
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
_TOGETHER = 200  # results in one association
_DUPLICATE = 0x0111  # PS3.7 section C.5.7: the archive has this object already
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

    Raises:
        OSError: The folder of marks cannot be made.
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
        self._outbox, self._archive, self._ae_title, self._tls, self._say = outbox, archive, ae_title, tls, say
        self._marks = make_folder_below(outbox, Path(DELIVERED, archive.key))
        self._stopped = threading.Event()
        self._known: set[str] = set()
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
                    self._send(due[:_TOGETHER])
            except Exception as error:  # noqa: BLE001  # whatever it is, the results are still there to be sent
                self._fail(f"sending failed inside ({type(error).__name__})")

    def _look(self) -> None:
        """Note what is new in the outbox."""
        changed = self._outbox.stat().st_mtime
        if changed == self._seen and time.time() - changed > _COARSE:
            return
        self._seen = changed
        names = results_in(self._outbox)
        for name in sorted(names - self._known):
            if not mark_of(self._outbox, self._archive, name).exists():
                self._waiting[name] = _Attempts()
        self._known = names

    def _send(self, names: list[str]) -> None:
        classes = {name: sop_class for name in names if (sop_class := self._class_of(name)) is not None}
        if not classes:
            return
        association = associate(self._archive, set(classes.values()), ae_title=self._ae_title, tls=self._tls)
        if association is None:
            self._fail("cannot be reached, or refuses the association")
            return
        sent = 0
        try:
            for name, sop_class in classes.items():
                if self._stopped.is_set() or not association.is_established:
                    break
                sent += self._store(association, name, accepted=accepts(association, sop_class))
            lost = not association.is_established
        finally:
            if association.is_established:
                association.release()
        if lost:
            self._fail("broke off")
        else:
            self._reach = _Attempts()
        if sent:
            self._say(f"{self._archive}: {sent} results delivered, {len(self._waiting)} wait")

    def _class_of(self, name: str) -> str | None:
        try:
            return str(read_file_meta_info(self._outbox / name).MediaStorageSOPClassUID)
        except Exception as error:  # noqa: BLE001  # one file that somebody has damaged must not keep back the others
            self._refused(name, f"cannot be read, {type(error).__name__}")
            return None

    def _store(self, association: Association, name: str, *, accepted: bool) -> bool:
        """Send one object; say whether the archive has confirmed it."""
        if not accepted:
            self._refused(name, "its class is not accepted")
            return False
        status = association.send_c_store(self._outbox / name).get("Status")
        if status is None:
            return False  # the association is lost
        if status != _DUPLICATE and STORAGE_SERVICE_CLASS_STATUS.get(status, ("",))[0] not in {"Success", "Warning"}:
            self._refused(name, f"status 0x{status:04X}")
            return False
        mark_of(self._outbox, self._archive, name).touch()
        del self._waiting[name]
        return True

    def _refused(self, name: str, reason: str) -> None:
        if self._waiting[name].failed() == 1:
            self._say(f"{self._archive}: a result was not delivered ({reason}); it is offered again later")

    def _fail(self, problem: str) -> None:
        if self._reach.failed() == 1:
            self._say(f"{self._archive}: {problem}; {len(self._waiting)} results wait and are offered again later")


def results_in(outbox: Path) -> set[str]:
    """Give the names of the results in an outbox."""
    return {path.name for path in outbox.glob("*.dcm") if not path.name.startswith(".")}


def mark_of(outbox: Path, archive: Archive, name: str) -> Path:
    """Give the file that says that an archive has a result."""
    return outbox / DELIVERED / archive.key / name.removesuffix(".dcm")


def associate(
    archive: Archive, classes: Collection[str], *, ae_title: str, tls: ssl.SSLContext | None
) -> Association | None:
    """Open an association that proposes some classes and nothing else; None where the archive gives none.

    Args:
        archive: Whom to ask.
        classes: SOP Class UIDs.
        ae_title: What the node is called.
        tls: How the connection is encrypted, where the archive's are.
    """
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = IMPLEMENTATION
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.connection_timeout = entity.acse_timeout = _CONNECT
    entity.dimse_timeout = entity.network_timeout = _ANSWER
    for sop_class in sorted(classes):
        entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    try:
        association = entity.associate(
            archive.host,
            archive.port,
            ae_title=archive.ae_title,
            tls_args=(tls, archive.host) if tls and archive.tls else None,
        )
    except OSError:  # a name that nobody knows
        return None
    return association if association.is_established else None


def accepts(association: Association, sop_class: str) -> bool:
    """Say whether a class was accepted."""
    return any(context.abstract_syntax == sop_class for context in association.accepted_contexts)


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
