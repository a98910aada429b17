"""The radiographs that are measured with."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr_edge.bench.cases import counted
from cxr_edge.bench.phantom import phantom_jpeg
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery

MOST = 16
"""Files that are taken of those named: a window of measurement goes through all of them."""


@dataclass(frozen=True)
class Inputs:
    """Which radiographs.

    Attributes:
        files: How many.
        found: How many there were to choose from.
        synthetic: Whether it is the made-up one.
        sha256: Hash of their contents in hexadecimal: equal for equal files in equal order.
        formats: Such as ``JPEG 1384x1084``, each once.
    """

    files: int
    found: int
    synthetic: bool
    sha256: str
    formats: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Give what was measured with; no path, which may name a person."""
        return {**asdict(self), "formats": list(self.formats)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Inputs":
        """Read what `to_json` gave.

        Raises:
            KeyError: A part is missing.
        """
        return cls(
            files=int(record["files"]),
            found=int(record["found"]),
            synthetic=bool(record["synthetic"]),
            sha256=str(record["sha256"]),
            formats=tuple(map(str, record["formats"])),
        )

    def __str__(self) -> str:
        what = "a synthetic radiograph" if self.synthetic else counted(self.files, "file")
        chosen = f" of {self.found}, evenly spaced" if self.found > self.files else ""
        return f"{what}{chosen} ({', '.join(self.formats)})"


@contextmanager
def open_inputs(paths: Sequence[Path]) -> Iterator[tuple[tuple[Path, ...], Inputs]]:
    """Choose and check the files to measure with; without any, write the phantom to a temporary folder.

    Args:
        paths: Files and folders.

    Yields:
        At most 16 files, evenly spaced among those found, and what is to be said about them.

    Raises:
        InputError: One of them cannot be answered: nothing is measured with what fails.
    """
    if not paths:
        with tempfile.TemporaryDirectory(prefix="cxr-edge-bench-") as folder:
            file = Path(folder) / "phantom.jpeg"
            file.write_bytes(phantom_jpeg())
            yield (file,), _describe([file], found=1, synthetic=True)
        return
    found = []
    for each in Discovery(tuple(paths), ordered=True).find():
        if isinstance(each, InputError):
            raise each
        found.append(each)
    count = min(MOST, len(found))
    files = tuple(found[index * len(found) // count] for index in range(count))
    yield files, _describe(files, found=len(found), synthetic=False)


def _describe(files: Sequence[Path], *, found: int, synthetic: bool) -> Inputs:
    digest, formats = hashlib.sha256(), []
    for file in files:
        source = read_radiograph(file).source
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        formats.append(f"{source.format} {source.width}x{source.height}")
    return Inputs(len(files), found, synthetic, digest.hexdigest(), tuple(dict.fromkeys(formats)))
