"""More than 500 broken, mislabelled and hostile files: one record each, none takes long, nothing crashes."""

import copy
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from cxr_edge.api import load
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.index import Parameters
from cxr_edge.results.schema import BundleRecord
from cxr_edge.scan import local
from cxr_edge.scan.pipeline import Worker

SECONDS = 5.0
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # writing nonsense is the point
CONTRADICTIONS = {
    "Rows": (0, 1, 65535),
    "Columns": (0, 3, 65535),
    "NumberOfFrames": ("0", "3", "1000000"),
    "SamplesPerPixel": (0, 2, 3),
    "BitsAllocated": (1, 8, 17, 32),
    "BitsStored": (0, 1, 16, 99),
    "HighBit": (0, 99),
    "PixelRepresentation": (1, 7),
    "PhotometricInterpretation": ("RGB", "PALETTE COLOR", "nonsense"),
    "RescaleSlope": ("0", "-1", "1e300"),
    "RescaleIntercept": ("-1e9",),
    "WindowWidth": ("0", "-5", "0.0001"),
    "WindowCenter": ("1e30", ["1", "2", "3"]),
}


def small_images(radiographs: Path) -> dict[str, bytes]:
    """One small valid file of each kind."""
    pixels = cv2.resize(cv2.imread(str(radiographs / "NORMAL2-IM-0588-0001.jpeg"), 0), (120, 96))
    images = {suffix: bytes(cv2.imencode(suffix, pixels)[1]) for suffix in (".jpeg", ".png", ".tiff", ".bmp")}
    images[".16.png"] = bytes(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1])
    images[".dcm"] = encoded(small_dicom(radiographs))
    return images


def small_dicom(radiographs: Path) -> Dataset:
    dataset = dcmread(radiographs / "nih_dx_chest.dcm")
    pixels = np.ascontiguousarray(dataset.pixel_array[::8, ::8])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    return dataset


def encoded(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def contradictory(radiographs: Path) -> Iterator[bytes]:
    whole = small_dicom(radiographs)
    for element in list(whole):
        without = copy.deepcopy(whole)
        del without[element.tag]
        yield encoded(without)
    for keyword, values in CONTRADICTIONS.items():
        for value in values:
            changed = copy.deepcopy(whole)
            try:
                setattr(changed, keyword, value)
                yield encoded(changed)
            except (ValueError, TypeError, OverflowError, struct.error):
                continue  # pydicom refuses to write it: the mutations of bytes come nearest


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def hostile(folder: Path) -> None:
    """Files that are dangerous by what they are rather than by what they hold."""
    (folder / "bomb.png").write_bytes(png(9500, 9500, zlib.compress(bytes(9501 * 9500), 9)))
    (folder / "overflowing.png").write_bytes(png(16, 16, zlib.compress(bytes(50_000_000), 9)))
    (folder / "huge.png").write_bytes(png(2**31 - 1, 2**31 - 1, b""))
    (folder / "huge.bmp").write_bytes(
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 2**30, 2**30, 1, 8, *[0] * 6)
    )
    (folder / "empty.jpeg").touch()
    os.mkfifo(folder / "pipe.png")
    (folder / "self.png").symlink_to("self.png")
    (folder / "dangling.dcm").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "device.png").symlink_to("/dev/zero")
    for name in (b"two\nlines.png", b"\xff\xfe\xfd.png", b"-.png", b"<b>&amp;.png", "\u202egnp.png".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"strange" + name)


@pytest.fixture(scope="module")
def folder(radiographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    random = np.random.default_rng(11)
    for suffix, whole in small_images(radiographs).items():
        for number in range(25):
            cut = whole[: random.integers(1, len(whole))]
            (folder / f"cut-{number}{suffix}").write_bytes(cut)
            # Half of the bits in the first kilobyte, where the headers are.
            flipped = np.frombuffer(whole, np.uint8).copy()
            reach = min(1024, len(flipped)) if number % 2 else len(flipped)
            flipped[random.integers(0, reach, 1 + number)] ^= 1 << random.integers(0, 8, 1 + number).astype(np.uint8)
            (folder / f"flipped-{number}{suffix}").write_bytes(flipped.tobytes())
            at = int(random.integers(0, len(whole)))
            (folder / f"spliced-{number}{suffix}").write_bytes(whole[:at] + random.bytes(64) + whole[at:])
        for other in (".jpeg", ".png", ".tiff", ".bmp", ".dcm"):
            (folder / f"as{suffix}{other}").write_bytes(whole + other.encode())
    for number, data in enumerate(contradictory(radiographs)):
        (folder / f"tags-{number}.dcm").write_bytes(data)
    hostile(folder)
    return folder


def test_one_record_each_and_no_hang(
    tiny_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, seconds = Worker.work, {}

    def timed(worker: Worker, jobs: list[Path]) -> object:
        start = time.thread_time()  # of this thread: other programs' work does not count
        outcomes = work(worker, jobs)
        seconds[jobs[0].name] = time.thread_time() - start
        return outcomes

    monkeypatch.setattr(Worker, "work", timed)
    model = load(tiny_bundle, provider="cpu", threads=1)
    parameters = Parameters(
        engine="local",
        bundle=BundleRecord(**model.bundle.to_json()),
        provider="cpu",
        precision="fp32",
        operating_point="balanced",
        gate=False,
        batch_size=1,
        explain="gradcam",
        explain_if="all",
    )
    tally, _ = local.scan_locally(model, Discovery((folder,)), parameters, out=tmp_path, workers=2, pictures=True)
    expected = {str(path) for path in folder.iterdir() if path.name != "loop"}
    assert len(expected) > 500
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(record["path"] for record in records) == sorted(expected)
    assert tally.total == len(expected)
    failures = [record for record in records if record["status"] == "error"]
    assert 200 < len(failures) < len(records)
    assert [each["error"]["message"] for each in failures if each["error"]["kind"] == "internal"] == []
    slow = {name: duration for name, duration in seconds.items() if duration > SECONDS}
    assert slow == {}
