"""A folder with everything that an answer needs, checked against its manifest before any of it is used."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cxr_edge.errors import BundleError
from cxr_edge.files import write_atomically
from cxr_edge.manifest import FileRecord, Manifest, seal, unseal

DEFAULT = Path(__file__).parent / "bundles" / "pneumonia-mobilenet"


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: Where it is.
        manifest: What it says about itself.
        digest: SHA-256 of ``manifest.json`` in hexadecimal: the bundle's identity.
        models: The bytes of its ONNX files as they were hashed; sessions are opened from these.
    """

    folder: Path
    manifest: Manifest
    digest: str
    models: MappingProxyType[str, bytes]

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
        models = {}
        # Two threads for the hashing gained nothing: it already overlaps with the imports of a prediction.
        for name, record in manifest.files.items():
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise BundleError(f"{folder}: {name} is missing or cannot be read; {cure}") from error
            if len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.sha256:
                raise BundleError(f"{folder}: {name} is not the file that the manifest describes; {cure}")
            if name.endswith(".onnx"):
                models[name] = data
        return cls(folder, manifest, hashlib.sha256(raw).hexdigest(), MappingProxyType(models))

    def path(self, name: str) -> Path:
        """Give the path of one of the bundle's files.

        Raises:
            BundleError: The manifest names no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: the bundle has no {name}; it has {', '.join(self.manifest.files)}")
        return self.folder / name

    def model(self, name: str) -> bytes:
        """Give the checked bytes of one of the bundle's ONNX files, ready for a session.

        Raises:
            BundleError: The manifest names no such file.
        """
        self.path(name)
        return self.models[name]

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
