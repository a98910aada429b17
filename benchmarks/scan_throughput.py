"""How near a scan comes to what the cores could do if decoding and inference overlapped perfectly.

    python benchmarks/scan_throughput.py [--files 1000] [--precision fp32|int8] [--report]

Full-size originals, repeated under new names with a few bytes after their end: no content occurs twice. The scan of all
them is timed as a whole. Before and after it decoding (one thread), inference (all threads, batch 1 or 8, whichever is
quicker) and the plain loop of `Model.predict` are timed on 80. Bound per image: (decoding + inference on all cores x
their number) / number of cores. The bar is 0.90 of the bound's rate.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common import parser, table
from cxr_edge.api import Model, load
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.parameters import Parameters
from cxr_edge.results.schema import BundleRecord
from cxr_edge.scan import local

SAMPLE = 80


def copies(originals: Path, folder: Path, count: int) -> None:
    """Write distinct copies of the originals."""
    sources = sorted(originals.rglob("*.jp*g"))
    folder.mkdir(parents=True)
    for number in range(count):
        source = sources[number % len(sources)]
        (folder / f"{number:06}{source.suffix}").write_bytes(source.read_bytes() + number.to_bytes(4, "big"))


def milliseconds(work: Callable[[], object], count: int) -> float:
    """Time per image."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start) / count


def inference(model: Model, pixels: NDArray[np.float32], batch: int) -> float:
    """Time per image in batches."""
    model.classifier.predict(pixels[:batch])
    batches = [pixels[at : at + batch] for at in range(0, len(pixels), batch)]
    return milliseconds(lambda: [model.classifier.predict(each) for each in batches], len(pixels))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--files", type=int, default=1000)
    options.add_argument("--precision", default="fp32")
    options.add_argument("--batch-size", type=int, default=1, help="the command takes 4 for int8")
    options.add_argument("--report", action="store_true", help="with the thumbnails of the report")
    arguments = options.parse_args()
    cores = arguments.threads
    wide, narrow = (
        load(arguments.bundle, provider="cpu", threads=threads, precision=arguments.precision) for threads in (cores, 1)
    )
    parameters = Parameters(
        engine="local",
        bundle=BundleRecord(**narrow.bundle.to_json()),
        provider="cpu",
        precision=arguments.precision,
        operating_point=narrow.classifier.operating_point,
        gate=narrow.classifier.gate is not None,
        batch_size=arguments.batch_size,
        explain="none",
        explain_if="positive",
    )
    work = Path(tempfile.mkdtemp(prefix="scan-throughput-"))
    try:
        copies(arguments.data / "originals", work / "in", arguments.files)
        sample = sorted((work / "in").iterdir())[:SAMPLE]
        before = parts(wide, sample)
        scan = milliseconds(
            lambda: local.scan_locally(
                narrow,
                Discovery((work / "in",)),
                parameters,
                out=work / "out",
                workers=cores,
                pictures=arguments.report,
            ),
            arguments.files,
        )
        after = parts(wide, sample)
    finally:
        shutil.rmtree(work)
    decode, single, eight, loop = (statistics.mean(pair) for pair in zip(before, after, strict=True))
    bound = (decode + cores * min(single, eight)) / cores
    print(f"{arguments.precision}, {arguments.files} files, {cores} cores, ms per image; bar: bound / scan >= 0.90\n")
    names = ("decode", "inference", "inference x8", "plain loop", "bound", "scan", "bound / scan", "loop / scan")
    values = (decode, single, eight, loop, bound, scan, bound / scan, loop / scan)
    table(names, [[f"{value:.2f}" for value in values]])


def parts(model: Model, sample: list[Path]) -> tuple[float, float, float, float]:
    """Time per image of decoding, inference one by one and in eights, and the plain loop."""
    cv2.setNumThreads(1)
    decode = milliseconds(lambda: [to_input(read_radiograph(path)) for path in sample], len(sample))
    pixels = np.stack([to_input(read_radiograph(path)) for path in sample])
    loop = milliseconds(lambda: [model.predict(path) for path in sample], len(sample))
    return decode, inference(model, pixels, 1), inference(model, pixels, 8), loop


if __name__ == "__main__":
    main()
