"""Nothing leaves the machine, and nothing is left on it but this program's own cache."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge import telemetry
from cxr_edge.telemetry import read_telemetry

ISOLATED = ["unshare", "--map-root-user", "--net"]


def can_isolate():
    try:
        return subprocess.run([*ISOLATED, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def clean(tmp_path):
    """The environment of a user with an empty home, who has set nothing."""
    (tmp_path / "home").mkdir()
    ours = {"CXR_EDGE_CACHE", *(name for name, _ in telemetry.SWITCHES.values())}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("XDG_")}
    return {**kept, "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.skipif(not can_isolate(), reason="no network namespace may be made here")
def test_predict_writes_its_own_cache_and_attempts_no_connection(clean, tmp_path, tiny_bundle, radiographs):
    traced = shutil.which("strace") is not None
    log = tmp_path / "calls"
    trace = ["strace", "-f", "-qq", "-o", log, "-e", "trace=socket,connect,sendto,openat,open,mkdir"] if traced else []
    predict = [sys.executable, "-m", "cxr_edge", "predict", "--bundle", tiny_bundle]
    command = [*ISOLATED, *trace, *predict, radiographs / "person724_virus_1343.jpeg"]
    subprocess.run(command, env=clean, check=True, capture_output=True)
    home = tmp_path / "home"
    own = home / ".cache" / "cxr-edge"
    written = {path for path in home.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(own) for path in written), written
    if traced:
        calls = log.read_text(encoding="utf-8", errors="replace").splitlines()
        assert [call for call in calls if "AF_INET" in call] == []
        opened = [re.search(r'"([^"]+)".*O_(WRONLY|RDWR|CREAT)', call) for call in calls if "= -1" not in call]
        elsewhere = {Path(found[1]) for found in opened if found and not found[1].startswith(("/dev/", "/proc/"))}
        assert all(path.is_relative_to(own) for path in elsewhere), elsewhere


def test_the_libraries_are_told_before_they_are_imported(clean):
    code = (
        "import sys, cxr_edge.telemetry as t; assert 'onnxruntime' not in sys.modules;"
        "import cxr_edge.runtime.sessions; print([each.off for each in t.read_telemetry()])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=clean, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[True, True]"


@pytest.mark.parametrize("package", ["cxr_edge.cli", "cxr_export.cli", "cxr_train.cli"])
def test_every_command_passes_the_switch(clean, package):
    code = f"import {package}, sys, os; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=clean, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1 False"


def test_what_the_user_set_stays_and_is_said(clean, monkeypatch):
    code = "import os, cxr_edge; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {**clean, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    assert [(each.library, each.off) for each in read_telemetry()] == [("onnxruntime", False), ("ray", False)]
    assert read_telemetry()[0].reason == "ORT_DISABLE_TELEMETRY is '0'"


def test_a_library_that_was_there_before_is_said_to_send(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(telemetry, "IMPORTED_BEFORE", frozenset({"onnxruntime"}))
    assert not read_telemetry()[0].off
    assert "imported before" in read_telemetry()[0].reason
