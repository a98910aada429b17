"""The same radiographs by the local engine, by Ray on this machine, and by names on standard input.

    python benchmarks/engines.py [--files 1000] [--rounds 2] [--quick]

Full-size originals, repeated under new names with a few bytes after their end. Every run is a process of its own, its
start included; they take turns. A run of a few files shows what the start takes: what is left is the engine's rate.
Bars: Ray reaches 0.85 of the local engine's, with answers alone and with Grad-CAM of all; `predict --files-from -`
takes at most 1.05 of the time of a scan into JSON lines.
"""

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from common import parser, table
from rounds import Ratio, Seconds, take_turns
from scan_throughput import copies

RAY, STREAM = 0.85, 1.05
FEW = 32  # two batches of Ray's
EXPLAINED = ([], ["--explain", "gradcam", "--explain-if", "all"])
CXR_EDGE = [sys.executable, "-m", "cxr_edge"]
FIXED = ["--provider", "cpu", "--precision", "fp32"]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--files", 1000, quick=FEW + 8)
    options.number("--rounds", 2, quick=1)
    arguments = options.read()
    work = Path(tempfile.mkdtemp(prefix="engines-"))
    rows = []
    try:
        copies(arguments.data.originals, work / "in", arguments.files)
        copies(arguments.data.originals, work / "few", FEW)
        names = "".join(f"{path}\n" for path in sorted((work / "in").iterdir()))
        for explained in EXPLAINED[: 1 if arguments.quick else 2]:
            what = "Grad-CAM of all" if explained else "answers"
            asked = {engine: ["--engine", engine, *explained] for engine in ("local", "ray")}
            runs = {engine: partial(scan, work, "in", *options) for engine, options in asked.items()}
            starts = {f"{engine}, start": partial(scan, work, "few", *options) for engine, options in asked.items()}
            if not explained:
                runs["names"] = partial(check, [*CXR_EDGE, "predict", "--json", "--files-from", "-", *FIXED], names)
            found = take_turns(runs | starts, arguments.rounds, warm=0, lead=0)
            rest = {
                engine: [
                    whole - start
                    for whole, start in zip(found.by_name[engine], found.by_name[f"{engine}, start"], strict=True)
                ]
                for engine in asked
            }
            rows.append(row(f"{what}: local / Ray", found, "local", "ray"))
            rows.append(row(f"{what}: local / Ray after {FEW} files, at least {RAY}", Seconds(rest), "local", "ray"))
            if not explained:
                rows.append(row(f"names / local, at most {STREAM}", found, "names", "local"))
    finally:
        shutil.rmtree(work)
    print(f"{arguments.files} files\n")
    table(["time", "s", "s", "ratio"], rows)


def row(what: str, found: Seconds, one: str, other: str) -> list[str]:
    """Medians and their ratio."""
    medians = [f"{name} {found.median(name):.1f}" for name in (one, other)]
    return [what, *medians, str(Ratio.of(found, one, other))]


def scan(work: Path, folder: str, *options: str) -> None:
    """Scan into a fresh folder."""
    shutil.rmtree(work / "out", ignore_errors=True)
    command = [*CXR_EDGE, "scan", str(work / folder), "--out", str(work / "out"), "--formats", "jsonl"]
    check([*command, *FIXED, *options])


def check(command: list[str], said: str = "") -> None:
    """Run a process to its end."""
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 3}, done.stderr  # some originals are refused


if __name__ == "__main__":
    main()
