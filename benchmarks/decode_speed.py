"""Time from a file's content to grey pixels, this checkout against another one, taking turns file by file.

python benchmarks/decode_speed.py --base ../base
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from common import ROOT, table

sys.path.insert(0, str(ROOT / "tests"))
from damage import compressed, uncompressed_dicom

# By the public name: where a checkout lacks a module, an installed one of another checkout would be imported instead.
_WORKER = """
import sys, time
from pathlib import Path
from cxr_edge import read_radiograph
for line in sys.stdin:
    data = Path(line.rstrip("\\n")).read_bytes()
    start = time.perf_counter()
    read_radiograph(data)
    spent = time.perf_counter() - start
    ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "cxr_edge"]
    foreign = [file for file in ours if file and not Path(file).resolve().is_relative_to(sys.argv[1])]
    assert not foreign, f"not of this checkout: {foreign}"
    print(spent, flush=True)
"""
_KINDS = ("DICOM JPEG", "DICOM JPEG lossless", "DICOM JPEG-LS", "JPEG 2000 lossless", "JPEG 2000", "RLE")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--base", type=Path, default=None, help="a checkout of this repository to compare with")
    options.add_argument("--data", type=Path, default=None, help="folder of JPEG files", metavar="FOLDER")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--dicoms", type=int, default=50)
    options.add_argument("--quick", action="store_true", help="few files, one round, to see that it runs")
    asked = options.parse_args()
    pictures = sorted((asked.data or ROOT / "tests" / "data" / "kermany").rglob("*.jpeg"))
    pictures, dicoms = (pictures[:4], 8) if asked.quick else (pictures, asked.dicoms)
    with tempfile.TemporaryDirectory() as folder:
        groups = {"JPEG": pictures, **_write_dicoms(pictures, dicoms, Path(folder))}
        base = asked.base or ROOT
        seconds = _measure([file for group in groups.values() for file in group], (base, ROOT), asked, folder)
    rows = []
    for name, files in groups.items():
        before, after = (sum(seconds[checkout][file] for file in files) for checkout in (0, 1))
        rows.append((name, len(files), f"{before * 1e3:.1f}", f"{after * 1e3:.1f}", f"{after / before:.2f}"))
    together = [file for name, group in groups.items() if name != "JPEG" for file in group]
    before, after = (sum(seconds[checkout][file] for file in together) for checkout in (0, 1))
    rows.append(("all DICOM", len(together), f"{before * 1e3:.1f}", f"{after * 1e3:.1f}", f"{after / before:.2f}"))
    table(("files", "number", f"{base.name} (ms)", "this (ms)", "ratio"), rows)


def _write_dicoms(pictures: list[Path], number: int, folder: Path) -> dict[str, list[Path]]:
    """Write DICOM files of the pictures in every compression, the same number of each."""
    groups: dict[str, list[Path]] = {kind: [] for kind in (*_KINDS, "uncompressed")}
    for index in range(number):
        pixels = cv2.imread(str(pictures[index % len(pictures)]), cv2.IMREAD_GRAYSCALE)
        if index % 2:
            pixels = pixels.astype(np.uint16) * 16
        kinds = [kind for kind in groups if pixels.dtype == np.uint8 or kind != "DICOM JPEG"]
        kind = kinds[index // 2 % len(kinds)]
        made = (each.data for each in compressed(pixels, only=kind))
        data = uncompressed_dicom(pixels) if kind == "uncompressed" else next(made)
        groups[kind].append(folder / f"{index}.dcm")
        groups[kind][-1].write_bytes(data)
    return {kind: files for kind, files in groups.items() if files}


def _measure(
    files: list[Path], checkouts: tuple[Path, Path], asked: argparse.Namespace, folder: str
) -> list[dict[Path, float]]:
    """Give the least seconds of each file in each checkout."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(checkout.resolve())],
            env={**os.environ, "PYTHONPATH": str(checkout.resolve() / "edge")},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for checkout in checkouts
    ]
    least: list[dict[Path, float]] = [{}, {}]
    for turn in range(1 + (1 if asked.quick else asked.rounds)):  # the first is for imports and caches
        for file in files:
            for worker, seconds in zip(workers, least, strict=True):
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write(f"{file.resolve()}\n")
                worker.stdin.flush()
                spent = float(worker.stdout.readline())
                if turn:
                    seconds[file] = min(spent, seconds.get(file, spent))
    for worker in workers:
        worker.communicate()
    return least


if __name__ == "__main__":
    main()
