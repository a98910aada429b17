"""Kill a scan again and again, and compare what it ends with to a scan that was left alone.

    python benchmarks/scan_kills.py [--kills 50] [--explain gradcam] [--quick]

Every kill -9 comes a random while after a random number of further records. Bar: one record for every file, each equal
to the undisturbed scan's but for the time.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import SAMPLES, Options

COPIED = SAMPLES / "kermany"


def main() -> None:
    """Kill, compare and print."""
    parser = Options(__doc__)
    parser.number("--kills", 50, quick=2)
    parser.add_argument("--explain", default="none")
    options = parser.read()
    work, random = Path(tempfile.mkdtemp(prefix="scan-kills-")), np.random.default_rng()
    try:
        (work / "in").mkdir()
        sources = [path.read_bytes() for path in sorted(COPIED.rglob("*.jpeg"))]
        count = 40 * options.kills  # more than are answered by the last kill
        for number in range(count):
            # Every tenth content occurs twice, every twentieth file is cut off.
            data = sources[number % len(sources)] + (number - number % 10 // 9).to_bytes(4, "big")
            (work / "in" / f"{number:06}.jpeg").write_bytes(data[:2000] if number % 20 == 0 else data)
        command = [sys.executable, "-m", "cxr_edge", "scan", str(work / "in"), "--explain", options.explain]
        subprocess.run([*command, "--out", str(work / "calm")], stderr=subprocess.DEVNULL, check=False)
        journal, killed = work / "killed" / "results.jsonl", 0
        for _ in range(options.kills):
            goal = lines(journal) + int(random.integers(0, 12))
            with subprocess.Popen(
                [*command, "--out", str(work / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                while process.poll() is None and lines(journal) < goal:
                    time.sleep(0.001)
                time.sleep(random.uniform(0, 0.05))
                killed += process.poll() is None
                process.kill()
        subprocess.run([*command, "--out", str(work / "killed")], stderr=subprocess.DEVNULL, check=False)
        calm, disturbed = records(work / "calm"), records(work / "killed")
        assert len(calm) == count
        assert disturbed == calm
        print(f"{killed} kills: {len(disturbed)} files, one record each, all equal to the undisturbed scan's")
    finally:
        shutil.rmtree(work)


def lines(journal: Path) -> int:
    """Count the records so far."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def records(out: Path) -> dict[str, Any]:
    """Records by path, without the time; a path with two ends the comparison."""
    found = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="ascii").splitlines()]
    by_path = {record["path"]: json.dumps({**record, "time": None}) for record in found}
    assert len(by_path) == len(found)
    return by_path


if __name__ == "__main__":
    main()
