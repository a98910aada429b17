"""What the local page shows: radiographs that were dropped on it, and the records of a scan that may still run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from cxr_edge.api import Model
from cxr_edge.errors import InputError, UsageError
from cxr_edge.explanation import CamMethod, Method
from cxr_edge.explanation.overlays import layers, page_pictures, pointed_at
from cxr_edge.reading.decode import decode
from cxr_edge.report.page import picture_bits, pictures_of
from cxr_edge.results.index import DESCRIPTION
from cxr_edge.results.journal import JOURNAL, BadLine, read_journal
from cxr_edge.results.outcomes import Answer, Failure, attempt
from cxr_edge.results.output import PICTURES, assets_of
from cxr_edge.results.record import COLUMNS, flatten, to_record
from cxr_edge.results.schema import Record

MOST_FILES = 200
"""So many files may lie on the page at once: they are in memory."""
_SHA256 = re.compile("[0-9a-f]{64}")

PageRow = list[Any]
"""The values of `COLUMNS`, then the number that says which pictures there are."""


@dataclass(frozen=True, eq=False)
class DroppedFile:
    """A content that was dropped.

    Attributes:
        record: What is said about it.
        pictures: Name of a picture → the file.
        answer: The answer without its pixels; None where there is none to explain.
        regions: From `pointed_at`.
    """

    record: Record
    pictures: dict[str, bytes]
    answer: Answer | None = None
    regions: dict[str, object] = field(default_factory=dict)

    def row(self, name: str) -> PageRow:
        """Give the row of the page under a file's name."""
        return _row(self.record, picture_bits(self.pictures), path=name)


class Desk:
    """Answers what is dropped and keeps it in memory; safe to use from several threads.

    Args:
        model: What answers.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._files: dict[str, DroppedFile] = {}
        self._names: dict[str, str] = {}
        self._lock = Lock()

    @property
    def operating_point(self) -> str:
        """The name of the operating point."""
        return self.model.classifier.rule.operating_point

    def warm_up(self) -> None:
        """Load what explains and compute once, so that the first radiograph is answered as fast as the others."""
        spec = self.model.bundle.manifest.input
        blank = np.full((1, spec.height, spec.width), 128, np.float32)
        (prediction,) = self.model.classifier.predict(blank)
        explainer = self.model.explainer
        explainer.gradcam.explain(prediction.features, self.model.bundle.manifest.positive)
        _ = explainer.lime
        if explainer.lungs is not None:
            explainer.lungs.outline(blank[0])

    def answer(self, name: str, data: bytes) -> PageRow:
        """Answer a file.

        Args:
            name: Its name, with folders where a folder was dropped.
            data: Its content.

        Raises:
            UsageError: `MOST_FILES` files lie here already.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            known = self._files.get(sha256)
            if name not in self._names and len(self._names) >= MOST_FILES:
                raise UsageError(f"{MOST_FILES} files are open", cure="clear the page first")
        file = known if known is not None and known.answer is not None else self._look(name, sha256, data)
        with self._lock:
            self._files[sha256] = file
            self._names[name] = sha256
        return file.row(name)

    def _look(self, name: str, sha256: str, data: bytes) -> DroppedFile:
        path = Path(name)

        def work() -> tuple[Answer, dict[str, bytes]]:
            radiograph = decode(data, path)
            return self.model.predict(radiograph), page_pictures(radiograph)

        done = attempt(path, work)
        now = datetime.now(UTC)
        if isinstance(done, Failure):
            return DroppedFile(to_record(done, sha256=sha256, time=now), {})
        answer, pictures = done
        record = to_record(answer, sha256=sha256, time=now)
        # Explanations start from the network's input; of the pixels only their number is needed from here on.
        shape = np.broadcast_to(np.uint8(0), answer.radiograph.pixels.shape)
        return DroppedFile(record, pictures, replace(answer, radiograph=replace(answer.radiograph, pixels=shape)))

    def explain(self, name: str, method: Method, cam: CamMethod = "gradcam") -> PageRow:
        """Explain the answer of a file.

        Args:
            name: Of the file.
            method: ``gradcam``, or ``both`` or ``shap``, which take about a second.
            cam: ``gradcam``, or ``layercam``; where the bundle has none, nothing is added.

        Raises:
            InputError: No such file lies here, or its answer is a refusal.
        """
        with self._lock:
            sha256 = self._names.get(name)
            file = self._files.get(sha256 or "")
        if sha256 is None or file is None or file.answer is None:
            raise InputError("is not open here", kind="unknown", path=Path(name))
        if cam == "layercam" and self.model.bundle.manifest.layercam is None:
            return file.row(name)
        explanation = self.model.explainer.explain(file.answer, method=method, cam=cam)
        drawn, regions = layers(explanation), pointed_at(explanation)
        with self._lock:  # another request may have drawn another map meanwhile
            former = self._files.get(sha256, file)
            pictures = {**former.pictures, **drawn}
            record = former.record
            if cam == "gradcam" and method in {"gradcam", "both"}:  # the facts beside the picture are of these two
                part = explanation.to_part({name: name for name in pictures})
                record = to_record(file.answer, explanation=part, sha256=sha256, time=datetime.now(UTC))
            regions = {**former.regions, **regions}
            self._files[sha256] = explained = replace(file, record=record, pictures=pictures, regions=regions)
        return explained.row(name)

    def regions(self, name: str) -> dict[str, object]:
        """Give what lies under a pointer on the maps of a file, see `pointed_at`; nothing where there are none."""
        with self._lock:
            file = self._files.get(self._names.get(name, ""))
        return {} if file is None else file.regions

    def rows(self) -> list[PageRow]:
        """Give all files in the order in which they came."""
        with self._lock:
            return [self._files[sha256].row(name) for name, sha256 in self._names.items()]

    def picture(self, sha256: str, name: str) -> bytes | None:
        """Give a picture of a content, None if there is none."""
        with self._lock:
            file = self._files.get(sha256)
        return None if file is None else file.pictures.get(name)

    def clear(self) -> None:
        """Forget all files."""
        with self._lock:
            self._files.clear()
            self._names.clear()


class ScanFolder:
    """The output folder of a scan, whose journal may still grow.

    Args:
        folder: The folder.

    Raises:
        UsageError: It is none.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / DESCRIPTION).is_file():
            cure = "run cxr-edge scan FOLDER --out OUT and then cxr-edge view OUT, or leave it out and drop files"
            raise UsageError("is no output folder of cxr-edge scan", cure=cure, path=folder)
        self._folder = folder

    def rows(self, start: int, most: int) -> tuple[list[PageRow], int]:
        """Read on in the journal.

        Args:
            start: The byte to begin at: 0, or what was given before.
            most: So many records at most.

        Returns:
            Their rows, and the byte to go on from.
        """
        rows: list[PageRow] = []
        bad: list[BadLine] = []
        with suppress(FileNotFoundError):  # the scan has only begun
            for entry in self._entries(start, bad):
                row = flatten(entry.record)
                rows.append(_row(entry.record, pictures_of(self._folder, row)))
                start = entry.end
                if len(rows) == most:
                    break
        return rows, start

    def _entries(self, start: int, bad: list[BadLine]) -> Iterator[Any]:
        return read_journal(self._folder / JOURNAL, start=start, bad=bad.append)

    def picture(self, sha256: str, name: str) -> bytes | None:
        """Give a picture of a content, None if there is none."""
        if not _SHA256.fullmatch(sha256) or name not in PICTURES:
            return None
        with suppress(OSError):
            return (self._folder / assets_of(sha256) / name).read_bytes()
        return None


def _row(record: Record, pictures: int, *, path: str | None = None) -> PageRow:
    row = flatten(record)
    if path is not None:
        row["path"] = path
    return [*(row[column.name] for column in COLUMNS), pictures]
