"""What is measured: every combination of task, scope, precision, batch size, provider and threads, and on what.

The radiographs are files of the user or a made-up one, so that a machine can be measured before it has seen any.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from cxr_edge.errors import InputError, UsageError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.runtime.machine import check_batch_size, check_threads
from cxr_edge.runtime.providers import Provider

MOST = 16
"""Files that are taken of those named: a window of measurement goes through all of them."""
HEIGHT, WIDTH = 1084, 1384  # of the phantom: in the middle of the originals that the shipped network was trained on
_SEED = 2018


@dataclass(frozen=True)
class InputSummary:
    """What is said about the radiographs; no path, which may name a person.

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
        """Give what was measured with."""
        return {**asdict(self), "formats": list(self.formats)}

    def __str__(self) -> str:
        what = "a synthetic radiograph" if self.synthetic else counted(self.files, "file")
        chosen = f" of {self.found}, evenly spaced" if self.found > self.files else ""
        return f"{what}{chosen} ({', '.join(self.formats)})"


@dataclass(frozen=True, eq=False)
class BenchInputs:
    """The radiographs themselves.

    Attributes:
        found: All files that there were to choose from.
        files: Those chosen.
        radiographs: The same, decoded.
        summary: What is said about them.
    """

    found: tuple[Path, ...]
    files: tuple[Path, ...]
    radiographs: tuple[Radiograph, ...]
    summary: InputSummary


@contextmanager
def open_inputs(paths: Sequence[Path]) -> Iterator[BenchInputs]:
    """Choose and decode the files to measure with; without any, write the phantom to a temporary folder.

    Args:
        paths: Files and folders.

    Yields:
        At most 16 files, evenly spaced among those found.

    Raises:
        InputError: One of them cannot be answered: nothing is measured with what fails.
    """
    if not paths:
        with tempfile.TemporaryDirectory(prefix="cxr-edge-bench-") as folder:
            file = Path(folder) / "phantom.jpeg"
            file.write_bytes(phantom_jpeg())
            yield _read([file], found=[file], synthetic=True)
        return
    found = []
    for each in Discovery(tuple(paths), ordered=True).find():
        if isinstance(each, InputError):
            raise each
        found.append(each)
    count = min(MOST, len(found))
    yield _read([found[index * len(found) // count] for index in range(count)], found=found, synthetic=False)


def _read(files: Sequence[Path], *, found: Sequence[Path], synthetic: bool) -> BenchInputs:
    radiographs = tuple(read_radiograph(file) for file in files)
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    sources = [radiograph.source for radiograph in radiographs]
    formats = dict.fromkeys(f"{source.format} {source.width}x{source.height}" for source in sources)
    summary = InputSummary(len(files), len(found), synthetic, digest.hexdigest(), tuple(formats))
    return BenchInputs(tuple(found), tuple(files), radiographs, summary)


def phantom() -> NDArray[np.uint8]:
    """Draw two lungs, ribs, a spine, a heart and film grain: uint8 [1084, 1384], the same every time.

    It costs what a radiograph of that size costs to decode and to answer. The answer itself means nothing.
    """
    scale = 4  # drawn small and enlarged, so that no edge is sharper than on film
    small = np.full((HEIGHT // scale, WIDTH // scale), 40.0, np.float32)
    height, width = small.shape
    middle = width // 2

    def ellipse(x: float, y: float, half_width: float, half_height: float, grey: float, angle: float = 0.0) -> None:
        centre, axes = (round(x * width), round(y * height)), (round(half_width * width), round(half_height * height))
        cv2.ellipse(small, centre, axes, angle, 0, 360, grey, cv2.FILLED, cv2.LINE_AA)

    ellipse(0.5, 0.55, 0.42, 0.62, 165)  # the trunk
    ellipse(0.3, 0.48, 0.13, 0.36, 62, 6)
    ellipse(0.7, 0.48, 0.13, 0.36, 62, -6)
    cv2.rectangle(small, (middle - width // 28, 0), (middle + width // 28, height), 200, cv2.FILLED)
    ellipse(0.56, 0.64, 0.13, 0.2, 190, 20)  # the heart
    ellipse(0.5, 1.06, 0.42, 0.24, 205)  # below the diaphragm
    ribs = small.copy()
    for number in range(9):
        y = 0.12 + 0.085 * number
        for x, angle in ((0.3, -14), (0.7, 14)):
            centre, axes = (round(x * width), round(y * height)), (round(0.16 * width), round(0.07 * height))
            cv2.ellipse(ribs, centre, axes, angle, 180, 360, 225, max(2, height // 50), cv2.LINE_AA)
    small = cv2.GaussianBlur(0.75 * small + 0.25 * ribs, (0, 0), 2.0)
    picture = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    random = np.random.default_rng(_SEED)
    for grain, sigma in ((3.0, 0.7), (18.0, 6.0), (60.0, 30.0)):  # film grain, vessels, uneven tissue
        picture += cv2.GaussianBlur(random.normal(0, grain * sigma, picture.shape).astype(np.float32), (0, 0), sigma)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def phantom_jpeg() -> bytes:
    """Encode the phantom as a JPEG of about the size that such a radiograph has."""
    return bytes(cv2.imencode(".jpeg", phantom(), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


Task = Literal["predict", "gradcam", "lime", "start"]
CaseScope = Literal["session", "file", "process"]
TASKS: tuple[Task, ...] = get_args(Task)
AtLeastOne = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        task: ``predict``; ``gradcam`` and ``lime``, each with the prediction that it explains; ``start``, which is
            ``cxr-edge predict FILE`` as a new process.
        scope: ``session``, from ready inputs in memory to the numbers; ``file``, from a file (in the disk cache) to the
            line of JSON that is its record; ``process``, of the task ``start``, from its call to its end.
        provider: What really computed, ``cpu`` or ``cuda``, say.
        precision: ``fp32`` or ``int8``.
        batch_size: Radiographs in a run; explanations are made one by one.
        threads: Threads of the session.
    """

    task: Task
    scope: CaseScope
    provider: str
    precision: str
    batch_size: AtLeastOne
    threads: AtLeastOne

    def to_json(self) -> dict[str, object]:
        """Give the case."""
        return asdict(self)

    def __str__(self) -> str:
        batch = f", batch {self.batch_size}" if self.batch_size > 1 else ""
        return (
            f"{self.task}, {self.scope}, {self.precision}{batch}, {counted(self.threads, 'thread')} on {self.provider}"
        )


@dataclass(frozen=True)
class CaseSelection:
    """What to measure with each network that is opened.

    Attributes:
        tasks: In the order of the table.
        scopes: Of ``session`` and ``file``; the task ``start`` has a scope of its own.
        batch_sizes: Of the task ``predict``.

    Raises:
        UsageError: An unknown task or scope, nothing to do, or a batch for which there is not enough memory.
    """

    tasks: tuple[str, ...]
    scopes: tuple[str, ...]
    batch_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        check_words("task", self.tasks, TASKS)
        check_words("scope", self.scopes, ("session", "file"))
        if not self.batch_sizes:
            raise UsageError("no batch size; expected numbers from 1 on, separated by commas")
        for size in self.batch_sizes:
            check_batch_size(size)

    def cases(self, *, provider: str, precision: str, threads: int) -> Iterator[Case]:
        """List the cases of one network, tasks in the order of `TASKS`."""
        for task in TASKS:
            if task not in self.tasks:
                continue
            scopes: tuple[Any, ...] = ("process",) if task == "start" else self.scopes
            for scope in scopes:
                for size in self.batch_sizes if task == "predict" else (1,):
                    yield Case(task, scope, provider, precision, size, threads)


@dataclass(frozen=True)
class SessionChoice:
    """Which sessions are opened, every combination of them.

    Attributes:
        providers: See `open_session`.
        precisions: None takes all that the bundle has files of.
        threads: For one run; None takes every core this process may use.

    Raises:
        UsageError: An unknown provider, or more threads than there are cores to use.
    """

    providers: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] | None = None
    threads: tuple[int | None, ...] = (None,)

    def __post_init__(self) -> None:
        check_words("provider", self.providers, get_args(Provider))
        for threads in self.threads:
            check_threads(threads)


def check_words(option: str, words: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse a list with a word that is not allowed.

    Raises:
        UsageError: Such a word, or none at all.
    """
    words, allowed = tuple(words), tuple(allowed)
    if unknown := [word for word in words if word not in allowed]:
        raise UsageError(f"{option} {unknown[0]!r}; expected any of {', '.join(allowed)}, separated by commas")
    if not words:
        raise UsageError(f"no {option}; expected any of {', '.join(allowed)}, separated by commas")


def counted(number: int, noun: str) -> str:
    """Say ``1 thread`` and ``2 threads``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
