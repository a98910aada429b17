import importlib.metadata
from pathlib import PurePosixPath

import pytest

from cxr_edge.runtime import providers


class Installed:
    def __init__(self, name):
        self.metadata = {"Name": name}
        self.version = f"1.{len(name or '')}"
        folder = "onnxruntime_extensions" if name == "onnxruntime-extensions" else "onnxruntime"
        self.files = [PurePosixPath(folder, "__init__.py")]


class Remains:
    metadata = None


@pytest.fixture
def have(monkeypatch):
    """Pretend that exactly these distributions bring the folder ``onnxruntime``."""

    def have(*names):
        there = [Installed(name) for name in (*names, "numpy", "onnxruntime-extensions", None)]
        monkeypatch.setattr(importlib.metadata, "distributions", lambda: [*there, Remains()])
        providers.installed.cache_clear()

    yield have
    providers.installed.cache_clear()


def test_the_one_that_is_really_installed():
    (name,) = providers.installed()
    assert name.startswith("onnxruntime")


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        ((), ('python -m pip install "cxr-edge[gpu]"',)),
        (
            ("onnxruntime-gpu", "onnxruntime"),
            (
                "python -m pip uninstall -y onnxruntime onnxruntime-gpu",
                'python -m pip install "cxr-edge[gpu]"',
            ),
        ),
    ],
)
def test_the_lines_that_leave_exactly_one(have, names, lines):
    have(*names)
    assert providers.reinstall("gpu") == lines


def test_none_installed_is_said(have):
    have()
    error = providers.import_failure(ModuleNotFoundError("No module named 'onnxruntime'"))
    assert error.problem.startswith("no ONNX Runtime is installed")
    assert 'pip install "cxr-edge[cpu]"' in error.cure


def test_an_installed_one_that_cannot_be_imported_is_said(have, monkeypatch):
    have("onnxruntime", "onnxruntime-gpu")
    error = providers.import_failure(ImportError("libfoo.so.1: cannot open"))
    assert "onnxruntime 1.11 and onnxruntime-gpu 1.15, which share one folder" in error.problem
    assert "libfoo.so.1" in error.problem
    assert "Visual C++" not in error.cure
    monkeypatch.setattr(providers.sys, "platform", "win32")
    assert "Visual C++" in providers.import_failure(ImportError("DLL load failed")).cure
