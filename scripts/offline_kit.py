"""Builds a folder that installs cxr-edge on a PC without internet: wheels with hashes, a script, an inventory of parts.

    python scripts/offline_kit.py --out kit --extras cpu,dicom,view

makes a kit for machines like this one; ``--platform win_amd64 --python 3.11`` makes one for others. In the kit lie

    wheels/            everything that is installed
    requirements.txt   each with its version and SHA-256: pip refuses anything else
    install.sh, install.cmd
    sbom.cdx.json      the parts, their hashes and licences (CycloneDX 1.6)
    licences/          the licence texts that the parts carry
    SHA256SUMS         of all of that
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
_LICENCE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edge", "export", "train")
_LARGEST = 200e6  # bytes: what fits on any stick and through any mail room
_INSTALL_SH = """#!/bin/sh
# Installs cxr-edge into a folder of its own, without a network: sh install.sh [FOLDER]
set -eu
kit=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$HOME/cxr-edge"}
if command -v sha256sum >/dev/null; then (cd "$kit" && sha256sum --quiet -c SHA256SUMS); fi
"${PYTHON:-python@PYTHON@}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$kit/wheels" \\
  --require-hashes -r "$kit/requirements.txt"
"$folder/bin/cxr-edge" verify
echo "Installed: $folder/bin/cxr-edge"
"""
_INSTALL_CMD = """@echo off
rem Installs cxr-edge into a folder of its own, without a network: install.cmd [FOLDER]
setlocal
set "folder=%~1"
if "%folder%"=="" set "folder=%LOCALAPPDATA%\\cxr-edge-program"
py -@PYTHON@ -m venv "%folder%" || exit /b 1
"%folder%\\Scripts\\python" -m pip install --quiet --disable-pip-version-check --no-index ^
  --find-links "%~dp0wheels" --require-hashes -r "%~dp0requirements.txt" || exit /b 1
"%folder%\\Scripts\\cxr-edge" verify || exit /b 1
echo Installed: %folder%\\Scripts\\cxr-edge.exe
"""
_README = """cxr-edge @VERSION@ for @PLATFORM@, Python @PYTHON@, with @EXTRAS@

Linux, macOS: sh install.sh [FOLDER]      Windows: install.cmd [FOLDER]

Python @PYTHON@ must be there already. Nothing is fetched from any network, and only what requirements.txt names by its
hash is installed. sbom.cdx.json lists the parts, licences/ holds their licences.
Research use only: this is no medical device, and no diagnosis.
"""


@dataclass(frozen=True)
class Part:
    """A wheel.

    Attributes:
        path: The file.
        metadata: What it says about itself (core metadata).
        sha256: Its hash.
    """

    path: Path
    metadata: Message
    sha256: str

    @property
    def name(self) -> str:
        """The name in the form that tools compare (PEP 503)."""
        return re.sub(r"[-_.]+", "-", self.metadata["Name"]).lower()

    @property
    def version(self) -> str:
        """The version."""
        return str(self.metadata["Version"])

    @property
    def licence(self) -> str:
        """What it says about its licence: an SPDX expression if there is one, else the shortest that there is."""
        classifiers = [
            each.split("::")[-1].strip() for each in self.metadata.get_all("Classifier", []) if "License" in each
        ]
        stated = (
            self.metadata["License-Expression"] or self.metadata["License"] or "; ".join(classifiers) or "not stated"
        )
        return stated.strip().splitlines()[0][:100]

    @classmethod
    def of(cls, path: Path) -> "Part":
        """Read a wheel."""
        with ZipFile(path) as wheel:
            (name,) = [each for each in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)]
            metadata = BytesParser().parsebytes(wheel.read(name))
        return cls(path, metadata, hashlib.sha256(path.read_bytes()).hexdigest())

    def licence_texts(self) -> Iterator[tuple[str, bytes]]:
        """Give the licence files that it carries."""
        with ZipFile(self.path) as wheel:
            for name in wheel.namelist():
                inside = PurePosixPath(name)
                if ".dist-info" in inside.parts[0] and _LICENCE.search(inside.name) and not name.endswith("/"):
                    yield inside.name, wheel.read(name)


def main() -> None:
    """Build the kit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the kit, a new folder")
    parser.add_argument("--extras", default="cpu,dicom,view", help="separated by commas; exactly one ONNX Runtime")
    parser.add_argument("--platform", help="such as win_amd64 or manylinux_2_28_x86_64; this machine's by default")
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="such as 3.11")
    asked = parser.parse_args()
    if asked.out.exists():
        parser.error(f"{asked.out} is there already; name a new folder")
    try:
        size = build_kit(asked.out, asked.extras, asked.platform, asked.python)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(asked.out, ignore_errors=True)
        sys.exit(f"pip failed: {error.stderr.strip()}")
    except BaseException:
        shutil.rmtree(asked.out, ignore_errors=True)
        raise
    print(f"{asked.out}: {size / 1e6:.0f} MB")  # noqa: T201  # the result of a script
    if size > _LARGEST:
        sys.exit(f"more than {_LARGEST / 1e6:.0f} MB: take fewer --extras")


def build_kit(out: Path, extras: str, platform: str | None, python: str) -> int:
    """Build the kit.

    Args:
        out: A new folder.
        extras: Extras of the package, separated by commas.
        platform: Tag of the platform; None is this machine's.
        python: Version of Python.

    Returns:
        Its size in bytes.
    """
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:  # a build leaves files behind, which the next one would take up
        for name in _SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(scratch, name))
        _pip("wheel", "--no-deps", "--wheel-dir", wheels.absolute(), scratch)
    (own,) = wheels.glob("*.whl")
    target = ["--platform", platform] if platform else []
    _pip(
        *("download", "--only-binary=:all:", "-c", ROOT / "constraints.txt", "-d", wheels),
        *(*target, "--python-version", python),
        f"{own}[{extras}]",
    )
    parts = sorted((Part.of(path) for path in wheels.glob("*.whl")), key=lambda part: part.name)
    lines = [f"{part.name}=={part.version} --hash=sha256:{part.sha256}\n" for part in parts]
    (out / "requirements.txt").write_text("".join(lines), encoding="ascii")
    (version,) = [part.version for part in parts if part.name == "cxr-edge"]
    said = {"@PYTHON@": python, "@PLATFORM@": platform or "machines like the one that it was made on"}
    said |= {"@VERSION@": version, "@EXTRAS@": extras}
    for name, text in (("install.sh", _INSTALL_SH), ("install.cmd", _INSTALL_CMD), ("README.txt", _README)):
        for word, value in said.items():
            text = text.replace(word, value)  # noqa: PLW2901
        (out / name).write_text(text, encoding="ascii", newline="\r\n" if name.endswith(".cmd") else "\n")
    (out / "sbom.cdx.json").write_text(json.dumps(_sbom(parts), indent=1) + "\n", encoding="utf-8")
    for part in parts:
        for name, text in part.licence_texts():
            place = out / "licences" / part.name / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)
    table = [f"{part.name} {part.version}: {part.licence}\n" for part in parts]
    (out / "licences" / "LICENCES.txt").write_text("".join(table), encoding="utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return sum(path.stat().st_size for path in files)


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # our own arguments


def _sbom(parts: list[Part]) -> dict[str, object]:
    """Give the inventory of the parts (CycloneDX 1.6, ECMA-424)."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{part.name}@{part.version}",
            "name": part.name,
            "version": part.version,
            "purl": f"pkg:pypi/{part.name}@{part.version}",
            "hashes": [{"alg": "SHA-256", "content": part.sha256}],
            "licenses": [{"license": {"name": part.licence}}],
        }
        for part in parts
    ]
    (own,) = [each for each in components if each["name"] == "cxr-edge"]
    names = {part.name: f"pkg:pypi/{part.name}@{part.version}" for part in parts}
    dependencies = []
    for part in parts:
        wanted = {
            re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", each)[0]).lower()
            for each in part.metadata.get_all("Requires-Dist", [])
        }
        refs = sorted(names[name] for name in wanted & names.keys())
        dependencies.append({"ref": names[part.name], "dependsOn": refs})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {**own, "type": "application"},
        },
        "components": [each for each in components if each is not own],
        "dependencies": dependencies,
    }


if __name__ == "__main__":
    main()
