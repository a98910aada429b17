"""Whether a scan's memory stays where it is as files grow in number, and how soon it starts on a huge folder.

    python benchmarks/scan_scale.py [--files 20000] [--listed 200000] [--precision fp32|int8] [--quick]

Memory: peak resident size of `cxr-edge scan` over 1000 files and over FILES, all with different content (the committed
radiographs with a few bytes after their end). Bar: ratio <= 1.1. Discovery: LISTED small files in one folder; seconds
from the start of the process to the first record in the journal, and to list them all. Bar: within seconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import SAMPLES, Options
from cxr_edge.reading.discovery import Discovery

COPIED = SAMPLES / "kermany"


def main() -> None:
    """Measure and print."""
    parser = Options(__doc__)
    parser.number("--few", 1000, quick=20, help="files that the memory is compared with")
    parser.number("--files", 20_000, quick=40)
    parser.number("--listed", 200_000, quick=500)
    parser.add_argument("--precision", default="fp32")
    options = parser.read()
    work = Path(tempfile.mkdtemp(prefix="scan-scale-"))
    try:
        few, many = (memory(work / str(count), count, options.precision) for count in (options.few, options.files))
        print(f"peak memory: {options.few} files {few:.0f} MiB, {options.files} files {many:.0f} MiB")
        print(f"ratio {many / few:.3f} (bar 1.1)")
        first, all_of_them = discovery(work / "listed", options.listed)
        print(f"{options.listed} files: first record after {first:.1f} s, listing alone {all_of_them:.1f} s")
    finally:
        shutil.rmtree(work)


def command(folder: Path, out: Path, *options: str) -> list[str]:
    """The scan as a process."""
    return [sys.executable, "-m", "cxr_edge", "scan", str(folder), "--out", str(out), "--formats", "jsonl", *options]


def memory(folder: Path, count: int, precision: str) -> float:
    """Peak resident size of a scan in MiB."""
    sources = [path.read_bytes() for path in sorted(COPIED.rglob("*.jpeg"))]
    (folder / "in").mkdir(parents=True)
    for number in range(count):
        data = sources[number % len(sources)] + number.to_bytes(4, "big")
        (folder / "in" / f"{number:06}.jpeg").write_bytes(data)
    with subprocess.Popen(command(folder / "in", folder / "out", "--precision", precision)) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert (folder / "out" / "results.jsonl").read_bytes().count(b"\n") == count
    return usage.ru_maxrss / 1024


def discovery(folder: Path, count: int) -> tuple[float, float]:
    """Seconds to the first record of a whole process, and of listing everything in this one."""
    (folder / "in").mkdir(parents=True)
    for number in range(count):
        (folder / "in" / f"{number:06}.png").write_bytes(number.to_bytes(4, "big"))
    journal, start = folder / "out" / "results.jsonl", time.perf_counter()
    with subprocess.Popen(command(folder / "in", folder / "out"), stderr=subprocess.DEVNULL) as process:
        while not journal.exists() or not journal.stat().st_size:
            time.sleep(0.005)
        first = time.perf_counter() - start
        process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    assert sum(1 for _ in Discovery((folder / "in",)).find()) == count
    return first, time.perf_counter() - start


if __name__ == "__main__":
    main()
