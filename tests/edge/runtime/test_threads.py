"""How many threads work at once: no more than were asked for, whatever is loaded; and none while nothing is to do."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime import machine, sessions
from cxr_edge.runtime.self_test import self_test

TASKS = Path("/proc/self/task")
pytestmark = pytest.mark.skipif(not TASKS.is_dir(), reason="counts threads as Linux shows them")


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)


@pytest.fixture(autouse=True)
def _opencv_alone():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def count():
    gc.collect()  # sessions that other tests left in exceptions still hold theirs
    return len(list(TASKS.iterdir()))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_classifier_gradcam_and_lime_together_have_the_threads_of_one(tiny_bundle, radiographs, threads):
    before = count()
    model = cxr_edge.load(tiny_bundle, provider="cpu", threads=threads)
    model.explain(radiographs / "person724_virus_1343.jpeg", method="both")
    assert count() - before == threads - 1  # the caller is one of them


def test_the_self_test_s_sessions_take_turns(tiny_bundle, monkeypatch):
    opened = []

    def remember(*arguments, **options):
        opened.append(sessions.open_session(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr("cxr_edge.runtime.networks.open_session", remember)
    self_test(Bundle.open(tiny_bundle))
    assert len(opened) == 3  # fp32, int8, Grad-CAM
    for session in opened:
        options = session.inference.get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_a_watching_scan_is_idle_while_nothing_arrives(tiny_bundle, radiographs, tmp_path):
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    shutil.copy(radiographs / "person724_virus_1343.jpeg", inputs)
    os.utime(inputs / "person724_virus_1343.jpeg", (1e9, 1e9))  # long at rest, so that it is answered at once
    command = [sys.executable, "-m", "cxr_edge", "scan", inputs, "--bundle", tiny_bundle, "--out", out]
    options = ["--watch", "--formats", "jsonl", "--provider", "cpu", "--explain", "gradcam", "--explain-if", "all"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (out / "results.jsonl").exists() or not (out / "results.jsonl").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        before = _cpu_seconds(process.pid)
        time.sleep(2)
        used = _cpu_seconds(process.pid) - before
        process.send_signal(signal.SIGTERM)
    assert used < 0.2  # a tenth of one core


def _cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
