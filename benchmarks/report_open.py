"""How long a report of many radiographs takes until somebody can work with it, in a real Chromium.

    python benchmarks/report_open.py [--entries 10000] [--rounds 5] [--quick]

A fresh browser opens the page each round. Interactive is the moment when the gallery is drawn, keys are answered and a
frame has been painted; after that a filter by text, a sort by name and the way to the last radiograph are timed in the
page, each until the frame after it. Needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)
and selenium.
"""

import hashlib
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import cv2

from browser import fresh_chrome
from common import SAMPLES, Options
from cxr_edge.report import write_reports

RADIOGRAPH = SAMPLES / "radiographs" / "NORMAL2-IM-0588-0001.jpeg"
BAR = 2.0  # seconds
TIMED = """
const done = arguments[arguments.length - 1], start = performance.now();
(() => { %s })();
requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
"""
STEPS = {
    "filter by text": "const t = document.getElementById('text'); t.value = 'virus_77'; t.oninput();",
    "clear": "document.getElementById('clear').click();",
    "sort by name": "const s = document.getElementById('sort'); s.value = 'name'; s.onchange();",
    "go to the end": "document.getElementById('gallery')"
    ".dispatchEvent(new KeyboardEvent('keydown', { key: 'End', bubbles: true }));",
}


def make_scan(folder: Path, entries: int) -> None:
    """Write a journal with a thumbnail for every record, one in fifty of them a failure."""
    draw = random.Random(0)  # noqa: S311
    picture = cv2.resize(cv2.imread(str(RADIOGRAPH)), (256, 200), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.imencode(".jpg", picture)[1].tobytes()
    with (folder / "results.jsonl").open("w", encoding="ascii") as journal:
        for index in range(entries):
            path = f"/archive/chest/{index // 500:03d}/person{index}_virus_{draw.randrange(9999)}.jpeg"
            sha256 = hashlib.sha256(path.encode()).hexdigest()
            record: dict[str, object] = {"schema": 1, "path": path, "sha256": sha256}
            if index % 50 == 0:
                record |= {"status": "error", "error": {"kind": "truncated", "message": f"{path}: the file is cut off"}}
            else:
                assets = folder / "assets" / sha256[:2] / sha256
                assets.mkdir(parents=True)
                (assets / "thumbnail.jpg").write_bytes(thumbnail)
                probability = draw.betavariate(0.3, 0.3)
                record |= {
                    "status": "ok",
                    "label": "PNEUMONIA" if probability >= 0.5 else "NORMAL",
                    "probability": probability,
                    "logodds": draw.gauss(),
                    "threshold": 0.5,
                    "operating_point": "youden",
                    "warnings": ["The radiograph is small."] if index % 97 == 0 else [],
                    "provider": "cpu",
                    "precision": "fp32",
                    "bundle": {"name": "pneumonia-mobilenet", "version": "1.0.0", "sha256": "0" * 64},
                    "source": {"path": path, "format": "JPEG", "width": 1200 + index % 400, "height": 900, "bits": 8},
                    "time": "2026-01-01T00:00:00.000+00:00",
                }
            journal.write(json.dumps(record) + "\n")


def open_report(page: Path) -> dict[str, float]:
    """Open the page in a fresh browser and give seconds by what was waited for."""
    with fresh_chrome() as chrome:
        chrome.get("about:blank")
        time.sleep(2)  # the browser's own start is not the page's
        start = time.perf_counter()
        chrome.get(page.as_uri())
        chrome.execute_async_script(TIMED % "")
        seconds = {"interactive": time.perf_counter() - start}
        marks = "return performance.getEntriesByName('interactive')[0].startTime"
        seconds["script done"] = chrome.execute_script(marks) / 1000
        for name, script in STEPS.items():
            seconds[name] = chrome.execute_async_script(TIMED % script) / 1000
        seconds["cards in the page"] = len(chrome.find_elements("css selector", ".card"))
    return seconds


def main() -> None:
    """Measure and print."""
    options = Options(__doc__)
    options.number("--entries", 10_000, quick=200)
    options.number("--rounds", 5, quick=1)
    arguments = options.read()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_scan(folder, arguments.entries)
        start = time.perf_counter()
        write_reports(folder, formats=["html"])
        page = folder / "report.html"
        print(f"report.html: {time.perf_counter() - start:.2f} s to write, {page.stat().st_size / 1e6:.1f} MB")
        rounds = [open_report(page) for _ in range(arguments.rounds)]
        for name in rounds[0]:
            values = [each[name] for each in rounds]
            print(f"{name:<20} median {statistics.median(values):8.3f}   worst {max(values):8.3f}")
        worst = max(each["interactive"] for each in rounds)
        print(f"{arguments.entries} entries interactive in {worst:.2f} s at worst (bar {BAR} s)")
        raise SystemExit(worst > BAR)


if __name__ == "__main__":
    main()
