import ctypes
from pathlib import Path

import pytest

from cxr_edge.runtime import providers
from cxr_edge.runtime import providers as accelerators
from cxr_edge.runtime.providers import ACCELERATORS, did_not_start, has_nvidia_driver, not_built_in

PRELOADED = """Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: No such file
Failed to load /opt/x/lib/libcublas.so.13: wrong ELF class
Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.
"""


@pytest.fixture
def loader(monkeypatch):
    """A loader that misses what it is told to miss: file name → what it says."""

    def loader(**missing):
        said = {name.replace("DOT", "."): text for name, text in missing.items()}

        def load(library):
            if (name := Path(library).name) in said:
                raise OSError(said[name])

        monkeypatch.setattr(ctypes, "CDLL", load)

    return loader


def absent(name):
    return f"{name}: cannot open shared object file: No such file or directory"


def test_missing_libraries_and_the_driver_are_named_once_each(loader):
    loader(libonnxruntime_providers_cudaDOTso=absent("libcublasLt.so.13"), libcudaDOTsoDOT1=absent("libcuda.so.1"))
    obstacle = did_not_start(ACCELERATORS["cuda"], PRELOADED, folder=Path("capi"))
    assert obstacle.reason == (
        "CUDA did not start: missing libcublasLt.so.13, libcublas.so.13, libcuda.so.1 of the NVIDIA driver"
    )
    assert obstacle.cure == (
        'python -m pip install "onnxruntime-gpu[cuda,cudnn]"',
        "install the NVIDIA driver, on a machine with an NVIDIA GPU",
    )


def test_what_only_the_loader_misses_is_named(loader):
    loader(libonnxruntime_providers_cudaDOTso=absent("libcudnn.so.9"))
    obstacle = did_not_start(ACCELERATORS["cuda"], "", folder=Path("capi"))
    assert obstacle.reason == "CUDA did not start: missing libcudnn.so.9"
    assert len(obstacle.cure) == 1


def test_a_driver_alone_needs_no_package(loader):
    loader(libcudaDOTsoDOT1=absent("libcuda.so.1"))
    assert not has_nvidia_driver()
    obstacle = did_not_start(ACCELERATORS["cuda"], "", folder=Path("capi"))
    assert [line.partition(" ")[0] for line in obstacle.cure] == ["install"]


def test_with_every_library_what_was_said_counts(loader):
    loader()
    assert has_nvidia_driver()
    said = did_not_start(ACCELERATORS["cuda"], "CUDA failure 100: no CUDA-capable device\nmore", folder=Path("capi"))
    assert said.reason == "CUDA did not start: CUDA failure 100: no CUDA-capable device"
    assert "no GPU answers" in did_not_start(ACCELERATORS["cuda"], "", folder=Path("capi")).reason


def test_the_loader_of_windows_names_only_what_was_asked_for(loader, monkeypatch):
    monkeypatch.setattr(accelerators, "_DRIVER", "nvcuda.dll")
    monkeypatch.setattr(accelerators, "_CUDA_LIBRARY", "onnxruntime_providers_cuda.dll")
    text = "Could not find module 'C:\\x\\y.dll' (or one of its dependencies)."
    loader(nvcudaDOTdll=text, onnxruntime_providers_cudaDOTdll=text)
    said = "Failed to load cublasLt64_13.dll: Could not find module\n"
    obstacle = did_not_start(ACCELERATORS["cuda"], said, folder=Path("capi"))
    assert obstacle.reason == "CUDA did not start: missing cublasLt64_13.dll, nvcuda.dll of the NVIDIA driver"


def test_two_distributions_explain_why_cuda_is_not_built_in(monkeypatch):
    monkeypatch.setattr(providers, "installed", lambda: {"onnxruntime": "1", "onnxruntime-gpu": "1"})
    obstacle = not_built_in(ACCELERATORS["cuda"])
    assert "onnxruntime and onnxruntime-gpu are both installed" in obstacle.reason
    assert obstacle.cure[0] == "python -m pip uninstall -y onnxruntime onnxruntime-gpu"
    assert not_built_in(ACCELERATORS["openvino"]).reason == "the plug-in onnxruntime-ep-openvino is not installed"
