"""How soon after the first drop on the page of `cxr-edge view` the label, the Grad-CAM and LIME are to be seen.

    python benchmarks/view_drop.py [--rounds 5] [--quick]

Every round starts the command and a real Chromium anew, opens the page, and drops one full-size radiograph on it as a
hand with a mouse does. Seconds from the drop, of the slowest round and the median. Bars: 0.3 s for the label, 0.4 s for
Grad-CAM, 2 s for LIME. Needs chromium and chromedriver, and selenium.
"""

import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from selenium import webdriver

from browser import fresh_chrome
from common import SAMPLES, Options

CHILD = SAMPLES / "radiographs" / "person724_virus_1343.jpeg"
SEEN = {
    "label": "document.getElementById('answer').textContent.includes('Calibrated probability')",
    "Grad-CAM": "[...document.querySelectorAll('#pane img:not([hidden])')]"
    ".some((each) => each.src.endsWith('gradcam.png') && each.naturalWidth)",
    "LIME": "document.getElementById('answer').textContent.includes('of the LIME evidence')",
}
BARS = {"label": 0.3, "Grad-CAM": 0.4, "LIME": 2.0}
WATCH = f"""
window.seen = {{}};
const looks = {{ {", ".join(f"'{name}': () => {test}" for name, test in SEEN.items())} }};
const look = () => {{
  for (const name in looks) if (!(name in window.seen) && looks[name]()) window.seen[name] = Date.now();
}};
setInterval(look, 10);  // asked at every frame, the browser would draw all the time
"""
PATIENCE = 60.0


def drop(page: webdriver.Chrome, file: Path) -> None:
    """Drop a file."""
    box = page.find_element("id", "drop").rect
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


def measure() -> dict[str, float]:
    """Seconds from the first drop, by what is seen."""
    command = [sys.executable, "-m", "cxr_edge", "view"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program,
        fresh_chrome() as chrome,
    ):
        assert program.stdout
        chrome.get(program.stdout.readline().strip())
        time.sleep(2)  # the browser's own start is not the page's
        chrome.execute_script(WATCH)
        start = time.time()
        drop(chrome, CHILD)
        while len(seen := chrome.execute_script("return window.seen")) < len(SEEN):
            assert time.time() < start + PATIENCE, f"only {', '.join(seen)} came"
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
    return {name: seen[name] / 1000 - start for name in SEEN}


def main() -> None:
    """Measure and print."""
    options = Options(__doc__)
    options.number("--rounds", 5, quick=1)
    rounds = [measure() for _ in range(options.read().rounds)]
    for name, bar in BARS.items():
        values = [each[name] for each in rounds]
        print(f"{name:<10} median {statistics.median(values):6.2f} s   worst {max(values):6.2f} s   (bar {bar} s)")


if __name__ == "__main__":
    main()
