"""The receiving end of the node: what others send becomes files, each whole and on the disk before it is confirmed.

It provides Verification and Storage (PS3.4 annexes A and B) to those whose AE title is accepted. A peer that is slow,
sends too much or breaks off costs its own connection, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from socket import socket
from socketserver import BaseServer
from typing import Any, cast

from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import create_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from cxr_edge.errors import CxrEdgeError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge.reading.data_set import read_data_set
from cxr_edge.reading.dicom import is_own_result
from cxr_edge.results.output import file_mode
from cxr_edge.text import printable

IMPLEMENTATION = UID("2.25.30185295763393675805798564883631791715")
"""Implementation Class UID (0002,0012) of the node."""
IMPLEMENTATION_VERSION = "CXR_EDGE"
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
"""Status of a C-STORE (PS3.4 table B.2-1)."""
_PATIENCE = 30.0  # seconds for a peer to send a whole PDU
_GREETING = 10.0  # seconds for it to ask for an association
_IDLE = 60.0  # seconds that an association may rest
_PDU = 1 << 17  # bytes that a peer may put into one PDU; dcmtk sends no longer ones
_LONGEST_PDU = 1 << 20  # a request for an association may be longer
_WAITING = 4  # messages of one association; who sends more does not wait for answers
_CONNECTIONS = 200  # also those that have not asked for an association, or have ended while it was waited for
_NAMED = 100  # AE titles that are named once each when they are refused


@dataclass(frozen=True)
class ReceivingLimits:
    """What the node takes.

    Attributes:
        size: Bytes of the largest object.
        free: Bytes that stay free on the disk; with fewer, nothing is taken.
        associations: How many at once; further ones are refused for the time being.
    """

    size: int
    free: int
    associations: int


class Receiver:
    """Takes what is sent.

    Attributes:
        folder: Where to.
        arrived: The file of each object that was taken, in the order of their arrival.

    Args:
        folder: Where to, a folder of an output folder.
        ae_title: What the node is called.
        accept: AE titles of those who may send; empty for everybody.
        limits: What is taken.
        tls: How connections are encrypted; None leaves them as they are.
        say: Takes lines for the log.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str,
        accept: tuple[str, ...],
        limits: ReceivingLimits,
        tls: ssl.SSLContext | None,
        say: Callable[[str], object],
    ) -> None:
        self.arrived: SimpleQueue[Path] = SimpleQueue()
        self.folder, self._accept, self._limits, self._tls, self._say = folder, accept, limits, tls, say
        self._named: set[str] = set()
        self._full = False
        self._server: _Server | None = None
        self._entity = _Entity(ae_title=ae_title)
        self._entity.add_supported_context(Verification)
        self._entity.require_calling_aet = list(accept)
        self._entity.maximum_associations = limits.associations
        self._entity.maximum_pdu_size = _PDU
        self._entity.implementation_class_uid = IMPLEMENTATION
        self._entity.implementation_version_name = IMPLEMENTATION_VERSION
        self._entity.acse_timeout = _GREETING
        self._entity.dimse_timeout = _PATIENCE
        self._entity.network_timeout = _IDLE

    def start(self, host: str, port: int) -> int:
        """Begin to listen.

        Args:
            host: Name or address of this machine.
            port: Port; 0 takes a free one.

        Returns:
            The port.

        Raises:
            UsageError: Somebody else has the port, or the machine has no such address.
        """
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, _closed),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            server = self._entity.make_server(
                (host, port),
                ssl_context=self._tls,
                evt_handlers=handlers,
                server_class=_Server,
            )
        except OSError as error:
            problem = f"cannot listen at {host}:{port} ({error.strerror or error})"
            raise UsageError(problem, cure="take another --port or --host, or stop what listens there") from error
        self._server = cast("_Server", server)
        _config.UNRESTRICTED_STORAGE_SERVICE = True  # every storage class, also private and retired ones
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    @property
    def listens(self) -> bool:
        """Whether it was started."""
        return self._server is not None

    def stop(self) -> None:
        """Listen no longer, and break off what is being sent: it was not confirmed, and will be sent again."""
        if self._server is not None:
            BaseServer.shutdown(self._server)
            self._server.server_close()
            for association in self._server.active_associations:
                association.abort()
            _config.UNRESTRICTED_STORAGE_SERVICE = False

    def _opened(self, event: Any) -> None:
        connection = event.assoc.dul.socket
        connection.recv = partial(_read, connection, self._limits.size)

    def _rejected(self, event: Any) -> None:
        title = event.assoc.requestor.ae_title.strip()
        if self._accept and title not in self._accept and title not in self._named and len(self._named) < _NAMED:
            self._named.add(title)
            self._say(f"refused: the calling AE title {printable(title)!r} is not one of --accept")

    def _store(self, event: Any) -> int:
        content = event.request.DataSet.getvalue()
        meta = create_file_meta(
            sop_class_uid=event.request.AffectedSOPClassUID,
            sop_instance_uid=event.request.AffectedSOPInstanceUID,
            transfer_syntax=event.context.transfer_syntax,
            implementation_uid=IMPLEMENTATION,
            implementation_version=IMPLEMENTATION_VERSION,
        )
        head = BytesIO()
        head.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(head, meta)
        data = head.getvalue() + content
        if _is_own(data):
            return SUCCESS  # our own results need no answer
        return self._keep(data)

    def _keep(self, data: bytes) -> int:
        """Write a file unless it is there; give the status."""
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}.dcm"
        try:
            if not path.exists():
                if shutil.disk_usage(self.folder).free - len(data) < self._limits.free:
                    return self._refuse("less space than --min-free is left on the disk")
                write_atomically(path, data, mode=file_mode(self.folder))
                _sync(self.folder)
        except OSError as error:
            return self._refuse(f"what is sent cannot be written ({error.strerror})")
        self._full = False
        self.arrived.put(path)
        return SUCCESS

    def _refuse(self, reason: str) -> int:
        """Say why nothing is taken, once until something is taken again; give the status."""
        if not self._full:
            self._say(f"refused: {reason}")
        self._full = True
        return OUT_OF_RESOURCES


class _Entity(AE):
    @property
    def active_associations(self) -> list[Association]:
        """Those that count for the limit, with the one that asks; a connection that asks for nothing does not."""
        asking = threading.current_thread()
        return [each for each in super().active_associations if each.is_established or each is asking]


class _Server(ThreadedAssociationServer):
    request_queue_size = 64

    def get_request(self) -> tuple[socket, Any]:
        """Take a connection; what a peer is slow with, also the handshake, is waited for by a thread of its own."""
        listening: Any = self.socket
        connection, address = listening.accept()
        connection.settimeout(_PATIENCE)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  # given by the caller
        return len(self.active_associations) < _CONNECTIONS

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that fails is its peer's affair."""


def _closed(event: Any) -> None:
    """Give the file descriptor back: pynetdicom does not where the peer was the first to leave."""
    if (connection := event.assoc.dul.socket.socket) is not None:
        connection.close()


def _read(connection: Any, largest: int, count: int) -> bytearray:
    """Read ``count`` bytes, fewer only where the connection ends.

    Raises:
        OSError: The peer is too slow or sends too much. pynetdicom closes the connection then.
    """
    association = connection.assoc
    message, read = association.dimse.message, bytearray(count if count <= _LONGEST_PDU else 0)
    if count > len(read) or association.dimse.msg_queue.qsize() > _WAITING:
        raise OSError("more than a peer may send")
    if message is not None and message.encoded_command_set.tell() > _LONGEST_PDU:
        raise OSError("a command without end")
    if message is not None and isinstance(message.data_set, BytesIO) and message.data_set.tell() + count > largest:
        raise OSError("larger than --max-size")
    if connection.socket is None:
        return bytearray()
    until, done = time.monotonic() + _PATIENCE, 0
    with memoryview(read) as view:
        while done < count and (more := connection.socket.recv_into(view[done:])):
            done += more
            if done < count and time.monotonic() > until:
                raise TimeoutError("a peer that is too slow")
    return read[:done]


def _is_own(data: bytes) -> bool:
    """Say whether an object is a result of this program; what cannot be read is none."""
    with suppress(CxrEdgeError):
        return is_own_result(read_data_set(data))
    return False


def _sync(folder: Path) -> None:
    """Put the names in a folder onto the disk; Windows does that by itself."""
    if os.name != "nt":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
