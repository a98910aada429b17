"""How near a scan comes to what the cores could do if decoding and inference overlapped perfectly.

    python benchmarks/scan_throughput.py [--files 1000] [--precision fp32|int8] [--report] [--explain METHOD] [--quick]

Full-size originals, repeated under new names with a few bytes after their end: no content occurs twice. `cxr-edge scan`
of all of them is timed as a whole, in this process, so that the interpreter's start is left out. Before and after it
decoding (one thread), inference (all threads, batch 1 or 8, whichever is quicker) and the plain loop of `Model.predict`
are timed on 80. Bound per image: (decoding + inference on all cores x their number) / number of cores; with
``--explain``, the plain loop of predicting and explaining on one thread / number of cores. The bars, of the bound's
rate: 0.95; 0.90 with the report's thumbnails; 0.85 with explanations of all.
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

from common import inputs_of, model_for, parser, table
from cxr_edge import Model, load
from cxr_edge.cli import app
from cxr_edge.explanation import Method


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
    options.number("--files", 1000, quick=8)
    options.number("--sample", 80, quick=8, help="files whose parts are timed")
    options.add_argument("--precision", default="fp32")
    options.number("--batch-size", 1, quick=1, help="the command itself takes 4 for int8")
    options.add_argument("--report", action="store_true", help="with the thumbnails of the report")
    options.add_argument("--explain", choices=("none", "gradcam", "lime", "both"), default="none")
    arguments = options.read()
    cores = arguments.threads
    model = model_for(arguments, precision=arguments.precision)
    explaining = arguments.explain != "none"
    alone = load(arguments.bundle, provider="cpu", precision=arguments.precision, threads=1)
    bar = 0.85 if explaining else 0.90 if arguments.report else 0.95
    work = Path(tempfile.mkdtemp(prefix="scan-throughput-"))
    command = ["scan", str(work / "in"), "--out", str(work / "out"), "--provider", "cpu"]
    command += ["--precision", arguments.precision, "--batch-size", str(arguments.batch_size)]
    command += ["--workers", str(cores), "--formats", "html" if arguments.report else "jsonl"]
    command += ["--explain", arguments.explain, "--explain-if", "all"]
    command += ["--bundle", str(arguments.bundle)] if arguments.bundle else []
    codes: list[int | None] = []
    try:
        copies(arguments.data.originals, work / "in", arguments.files)
        sample = sorted((work / "in").iterdir())[: arguments.sample]
        before = parts(model, sample)
        serial = [explain_loop(alone, sample, arguments.explain)] if explaining else []
        scan = milliseconds(lambda: codes.append(app(command, standalone_mode=False)), arguments.files)
        assert codes in ([0], [None], [3]), codes  # some originals are refused
        after = parts(model, sample)
        serial += [explain_loop(alone, sample, arguments.explain)] if explaining else []
    finally:
        shutil.rmtree(work)
    decode, single, eight, loop = (statistics.mean(pair) for pair in zip(before, after, strict=True))
    loop = statistics.mean(serial) if explaining else loop
    bound = loop / cores if explaining else (decode + cores * min(single, eight)) / cores
    what = f"{arguments.precision}, {arguments.files} files, {cores} cores, --explain {arguments.explain}"
    print(f"{what}, ms per image; bar: bound / scan >= {bar:.2f}\n")
    names = ("decode", "inference", "inference x8", "plain loop", "bound", "scan", "bound / scan", "loop / scan")
    values = (decode, single, eight, loop, bound, scan, bound / scan, loop / scan)
    table(names, [[f"{value:.2f}" for value in values]])


def parts(model: Model, sample: list[Path]) -> tuple[float, float, float, float]:
    """Time per image of decoding, inference one by one and in eights, and the plain loop."""
    cv2.setNumThreads(1)
    decode = milliseconds(lambda: inputs_of(sample), len(sample))
    pixels = np.stack(inputs_of(sample))
    loop = milliseconds(lambda: [model.predict(path) for path in sample], len(sample))
    return decode, inference(model, pixels, 1), inference(model, pixels, 8), loop


def explain_loop(model: Model, sample: list[Path], method: Method) -> float:
    """Time per image of predicting and explaining on one thread; what is refused is not explained."""

    def work(path: Path) -> None:
        answer = model.predict(path)
        if not answer.refusal:
            model.explainer.explain(answer, method=method)

    work(sample[0])
    return milliseconds(lambda: [work(path) for path in sample], len(sample))


if __name__ == "__main__":
    main()
