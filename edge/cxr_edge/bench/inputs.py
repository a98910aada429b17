"""The radiographs that are measured with: files of the user, or a made-up one.

With the made-up one a machine can be measured before anybody has put a radiograph on it.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bench.cases import counted
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.radiograph import Radiograph

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
