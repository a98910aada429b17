"""Types are checked by several threads from the first time on."""

import json
import subprocess
import sys

import pytest

from cxr_edge.api import load
from cxr_edge.bundle.bundle import DEFAULT, MANIFEST

FIRST_USE = """
import json, sys, threading
sys.setswitchinterval(1e-9)
from cxr_edge.bundle.bundle import Manifest
from cxr_edge.results.record import check
work, barrier = {"record": check, "manifest": Manifest.from_json}[sys.argv[1]], threading.Barrier(16)
values = json.loads(sys.stdin.read())
def run():
    barrier.wait()
    work(values)
threads = [threading.Thread(target=run) for _ in range(16)]
for each in threads: each.start()
for each in threads: each.join()
"""


@pytest.mark.parametrize("kind", ["record", "manifest"])
def test_the_first_check_may_come_from_many_threads_at_once(kind, tiny_bundle, radiographs):
    values = (DEFAULT / MANIFEST).read_text("utf-8")
    if kind == "record":
        model = load(tiny_bundle, provider="cpu", precision="fp32")
        values = json.dumps(model.predict(min(radiographs.iterdir())).to_json())
    for _ in range(4):  # without what it needs being built before, every second process crashed
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE, kind], input=values, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
