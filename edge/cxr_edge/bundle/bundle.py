"""A folder with everything that an answer needs, checked against its manifest before any of it is used."""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from cxr_edge.bundle.manifest import SCHEMA, FileRecord, Manifest
from cxr_edge.errors import BundleError
from cxr_edge.files import read_into_memory, write_atomically

DEFAULT = Path(__file__).parents[1] / "bundles" / "pneumonia-mobilenet"
MANIFEST = "manifest.json"
SIGNATURE_FILE = "manifest.json.sig"  # see cxr_edge.bundle.signature
_LARGEST_MANIFEST = 2**24  # bytes
# msgspec builds what it knows of a type when it first checks one, and crashes if two threads do so at once: built here.
msgspec.json.Decoder(Manifest)


@dataclass(frozen=True, eq=False)
class Network:
    """A network of an opened bundle.

    Attributes:
        path: Where its ONNX file was read.
        content: What was read.
        sha256: The hash of these bytes in hexadecimal.
    """

    path: Path
    content: memoryview
    sha256: str


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: Where it is.
        manifest: What it says about itself.
        digest: SHA-256 of ``manifest.json`` in hexadecimal: the bundle's identity.
        contents: Its files by name, as they were read and hashed when it was opened. Nothing is read again.
    """

    folder: Path
    manifest: Manifest
    digest: str
    contents: Mapping[str, memoryview]

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> "Bundle":
        """Open a bundle and check every file in it.

        Args:
            path: Its folder; None takes the one that was installed with the package.

        Raises:
            BundleError: The folder or a file is missing, a byte was changed, or there is a file that the manifest does
                not name.
        """
        folder = DEFAULT if path is None else Path(path)
        cure = "reinstall cxr-edge" if path is None else "export it again or name another with --bundle"
        try:
            with (folder / MANIFEST).open("rb") as file:
                raw = file.read(_LARGEST_MANIFEST)
        except OSError as error:
            raise BundleError(f"no bundle here (its {MANIFEST} cannot be read)", cure=cure, path=folder) from error
        try:
            manifest = Manifest.from_bytes(raw)
            _refuse_strangers(folder, manifest.files)
            contents = _read_files(folder, manifest.files)
        except OSError as error:
            raise BundleError(f"cannot be read ({error.strerror})", cure=cure, path=folder) from error
        except BundleError as error:
            raise BundleError(error.problem, cure=error.cure or cure, path=folder) from error
        return cls(folder, manifest, hashlib.sha256(raw).hexdigest(), contents)

    def path(self, name: str) -> Path:
        """Give the path of one of the bundle's files.

        Raises:
            BundleError: The manifest names no such file.
        """
        if name not in self.manifest.files:
            there = ", ".join(self.manifest.files)
            raise BundleError(f"the bundle has no {name}", cure=f"it has {there}", path=self.folder)
        return self.folder / name

    def model(self, name: str) -> bytes:
        """Give the checked bytes of one of the bundle's files.

        Raises:
            BundleError: The manifest names no such file.
        """
        self.path(name)
        return bytes(self.contents[name])

    def network(self, name: str) -> Network:
        """Give one of the bundle's networks, ready for a session.

        Raises:
            BundleError: The manifest names no such file.
        """
        return Network(self.path(name), self.contents[name], self.manifest.files[name].sha256)

    def with_network(self, name: str, data: bytes) -> "Bundle":
        """Give the same bundle with another network in the place of one of its own, in memory only.

        Args:
            name: The file whose place it takes.
            data: The bytes of its ONNX file.

        Raises:
            BundleError: The manifest names no such file.
        """
        self.path(name)
        files = {**self.manifest.files, name: FileRecord(hashlib.sha256(data).hexdigest(), len(data))}
        contents = MappingProxyType({**self.contents, name: memoryview(data)})
        return replace(self, manifest=msgspec.structs.replace(self.manifest, files=files), contents=contents)

    def to_json(self) -> dict[str, str]:
        """Give what a record says about the bundle that answered."""
        return {"name": self.manifest.name, "version": self.manifest.version, "sha256": self.digest}


def write_manifest(folder: Path, values: dict[str, Any]) -> Manifest:
    """Hash every file in a folder and write the ``manifest.json`` that makes it a bundle.

    Args:
        folder: Holds all the files of the bundle already.
        values: The manifest's keys, except ``files``; ``schema`` becomes `SCHEMA`.

    Returns:
        The manifest as a reader will see it.

    Raises:
        BundleError: The values are no valid manifest; nothing is written.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            data = path.read_bytes()
            files[path.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    try:
        text = json.dumps({**values, "schema": SCHEMA, "files": files}, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        raise BundleError(f"{MANIFEST}: {error}: it may hold no NaN and no infinity", path=folder) from error
    manifest = Manifest.from_bytes(text.encode())
    write_atomically(folder / MANIFEST, text.encode())
    return manifest


def _refuse_strangers(folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Refuse what the manifest does not name, and what is no file.

    Raises:
        BundleError: There is such a thing.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name not in files and entry.name not in {MANIFEST, SIGNATURE_FILE}:
            raise BundleError(f"{entry.name!a} lies there, which the manifest does not name", cure="remove it")
        if not entry.is_file():
            raise BundleError(f"{entry.name} is not a file")


def _read_files(folder: Path, files: Mapping[str, FileRecord]) -> Mapping[str, memoryview]:
    """Read and hash the files in two threads; whatever goes wrong in one of them is raised here.

    Raises:
        BundleError: The first file by name that is missing or another than the manifest describes.
    """
    largest_first = sorted(files, key=lambda name: -files[name].bytes)
    with ThreadPoolExecutor(2) as pool:
        reading = {name: pool.submit(_read, folder / name, files[name]) for name in largest_first}
    return MappingProxyType({name: reading[name].result() for name in sorted(files)})


def _read(path: Path, record: FileRecord) -> memoryview:
    try:
        fits = path.stat().st_size == record.bytes  # what is much too large is not read
        data = read_into_memory(path) if fits else memoryview(b"")
    except OSError as error:
        raise BundleError(f"{path.name} is missing or cannot be read ({error.strerror})") from error
    if not fits or len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        raise BundleError(f"{path.name} is not the file that the manifest describes")
    return data
