"""A folder with everything that an answer needs, checked against its manifest before any of it is used."""

import hashlib
import mmap
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.bundle.manifest import FileRecord, Manifest, seal, unseal
from cxr_edge.bundle.prepared import Prepared
from cxr_edge.errors import BundleError
from cxr_edge.files import write_atomically

DEFAULT = Path(__file__).parents[1] / "bundles" / "pneumonia-mobilenet"


class Networks(Mapping[str, bytes]):
    """The networks of a bundle by file name, each read, and its bytes hashed, when it is first asked for.

    Args:
        folder: The bundle's folder.
        files: What the manifest says about its files.
    """

    def __init__(self, folder: Path, files: Mapping[str, FileRecord]) -> None:
        self._folder = folder
        self._files = {name: record for name, record in files.items() if name.endswith(".onnx")}
        self._read: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        """Give the checked bytes of a network.

        Raises:
            KeyError: There is none of that name.
            BundleError: It is missing or was changed since the bundle was opened.
        """
        if name not in self._read:
            record = self._files[name]
            try:
                data = (self._folder / name).read_bytes()
            except OSError as error:
                raise BundleError(f"{self._folder}: {name} cannot be read any more ({error})") from error
            if not _as_described(data, record):
                raise BundleError(f"{self._folder}: {name} was changed after the bundle was opened; start again")
            self._read[name] = data
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: Where it is.
        manifest: What it says about itself.
        digest: SHA-256 of ``manifest.json`` in hexadecimal: the bundle's identity.
        models: The bytes of its networks; sessions are opened from these.
    """

    folder: Path
    manifest: Manifest
    digest: str
    models: Mapping[str, bytes]

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> "Bundle":
        """Open a bundle and check every file in it.

        Args:
            path: Its folder; None takes the one that was installed with the package.

        Raises:
            BundleError: The folder or a file is missing, or a byte was changed.
        """
        folder = DEFAULT if path is None else Path(path)
        cure = "reinstall cxr-edge" if path is None else "export it again or name another with --bundle"
        try:
            raw = (folder / "manifest.json").read_bytes()
        except OSError as error:
            raise BundleError(f"{folder}: no bundle here (its manifest.json cannot be read); {cure}") from error
        try:
            manifest = Manifest.from_json(unseal(raw))
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from error
        if fault := _first_fault(folder, manifest.files):
            raise BundleError(f"{folder}: {fault}; {cure}")
        return cls(folder, manifest, hashlib.sha256(raw).hexdigest(), Networks(folder, manifest.files))

    def path(self, name: str) -> Path:
        """Give the path of one of the bundle's files.

        Raises:
            BundleError: The manifest names no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: the bundle has no {name}; it has {', '.join(self.manifest.files)}")
        return self.folder / name

    def model(self, name: str) -> bytes:
        """Give the checked bytes of one of the bundle's networks, ready for a session.

        Raises:
            BundleError: The manifest names no such file.
        """
        self.path(name)
        return self.models[name]

    def prepared(self, precision: str) -> Prepared | None:
        """Give the classifier of a precision prepared for a quicker start; None where there is none of this one."""
        chosen = self.manifest.precisions[precision]
        spec = chosen.prepared
        if spec is None or spec.made_from != self.manifest.files[chosen.file].sha256:
            return None
        return Prepared(self.model(spec.graph), self.folder, spec.block, spec.onnxruntime)

    def to_json(self) -> dict[str, str]:
        """Give what a record says about the bundle that answered."""
        return {"name": self.manifest.name, "version": self.manifest.version, "sha256": self.digest}


def write_manifest(folder: Path, values: dict[str, Any]) -> Manifest:
    """Hash every file in a folder and write the sealed ``manifest.json`` that makes it a bundle.

    Args:
        folder: Holds all the files of the bundle already.
        values: The manifest's keys, except ``files``.

    Returns:
        The manifest as a reader will see it.

    Raises:
        BundleError: The values are no valid manifest; nothing is written.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json":
            data = path.read_bytes()
            files[path.name] = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
    records = {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in files.items()}
    data = seal({**values, "files": records})
    manifest = Manifest.from_json(unseal(data))
    write_atomically(folder / "manifest.json", data)
    return manifest


def _first_fault(folder: Path, files: Mapping[str, FileRecord]) -> str | None:
    """Hash the files in two threads of about the same length; none of them is copied into memory."""
    largest_first = sorted(files, key=lambda name: -files[name].bytes)
    halves: tuple[list[str], list[str]] = ([], [])
    for name in largest_first:
        min(halves, key=lambda half: sum(files[each].bytes for each in half)).append(name)
    faults: list[str] = []

    def check(names: Iterable[str]) -> None:
        faults.extend(fault for name in names if (fault := _fault(folder, name, files[name])))

    helper = threading.Thread(target=check, args=(halves[1],))
    helper.start()
    check(halves[0])
    helper.join()
    return min(faults, default=None)


def _fault(folder: Path, name: str, record: FileRecord) -> str | None:
    try:
        with (folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != record.bytes:
                intact = False
            elif size == 0:
                intact = _as_described(b"", record)
            else:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    intact = _as_described(content, record)
    except OSError:
        return f"{name} is missing or cannot be read"
    return None if intact else f"{name} is not the file that the manifest describes"


def _as_described(data: bytes | mmap.mmap, record: FileRecord) -> bool:
    return len(data) == record.bytes and hashlib.sha256(data).hexdigest() == record.sha256
