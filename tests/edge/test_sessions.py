import os

import numpy as np
import onnxruntime
import pytest

from cxr_edge import sessions
from cxr_edge.errors import BundleError, ProviderError, UsageError
from cxr_edge.sessions import open_session, usable_cores

WITHOUT_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return tiny_bundle / "classifier.onnx"


@pytest.mark.parametrize("provider", ["auto", "cpu"])
def test_bytes_and_paths_run(model, provider):
    inputs = {"pixels": np.zeros((2, 224, 224), np.float32)}
    answers = [
        open_session(source, provider=provider).run(inputs, ["logodds"]) for source in (model, model.read_bytes())
    ]
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    assert answers[0][0].shape == (2,)


def test_a_session_says_what_it_runs_on(model):
    session = open_session(model, provider="cpu", threads=1)
    assert (session.provider, session.reason, session.threads) == ("cpu", "asked for", 1)
    assert session.inference.get_session_options().intra_op_num_threads == 1


@pytest.mark.skipif(not WITHOUT_CUDA, reason="this ONNX Runtime has CUDA")
def test_without_cuda_auto_says_so_and_cuda_fails_with_the_cure(model):
    session = open_session(model, provider="auto")
    assert (session.provider, session.reason) == ("cpu", "this ONNX Runtime is built without CUDA")
    with pytest.raises(ProviderError, match=r"cxr-edge\[gpu\]"):
        open_session(model, provider="cuda")


def test_cuda_that_is_listed_but_does_not_start_is_not_believed(model, monkeypatch):
    # What onnxruntime-gpu does on a machine without CUDA: it lists the provider, prints, and opens on the CPU.
    opened = onnxruntime.InferenceSession

    def quietly_on_the_cpu(source, options, *, providers):
        return opened(source, options, providers=[name for name in providers if name != "CUDAExecutionProvider"])

    def preload():
        print("Failed to load libcublasLt.so.13")  # noqa: T201

    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(sessions.onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", quietly_on_the_cpu)
    session = open_session(model, provider="auto")
    assert session.provider == "cpu"
    assert "libcublasLt.so.13" in session.reason
    with pytest.raises(ProviderError, match=r"libcublasLt\.so\.13"):
        open_session(model, provider="cuda")


def test_what_preloading_prints_stays_out_of_the_results(model, monkeypatch, capsys):
    test_cuda_that_is_listed_but_does_not_start_is_not_believed(model, monkeypatch)
    assert capsys.readouterr().out == ""


def test_bytes_that_are_no_network_are_refused():
    with pytest.raises(BundleError, match="cannot load the network"):
        open_session(b"not onnx", provider="cpu")


@pytest.mark.parametrize("options", [{"provider": "gpu"}, {"threads": 0}])
def test_wrong_options(model, options):
    with pytest.raises(UsageError, match="expected"):
        open_session(model, **options)


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), (None, 8)])
def test_threads_respect_affinity_and_the_container_s_quota(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    file = tmp_path / "cpu.max"
    if quota:
        file.write_text(quota + "\n", encoding="ascii")
    monkeypatch.setattr(sessions, "_QUOTA", file)
    assert usable_cores() == cores


@pytest.mark.cuda
@pytest.mark.skipif(WITHOUT_CUDA, reason="needs onnxruntime-gpu")
def test_cuda_runs_on_cuda(model):
    session = open_session(model, provider="cuda")
    assert session.provider == "cuda"
    cpu = open_session(model, provider="cpu")
    inputs = {"pixels": np.random.default_rng(0).uniform(0, 255, (3, 224, 224)).astype(np.float32)}
    np.testing.assert_allclose(session.run(inputs, ["logodds"])[0], cpu.run(inputs, ["logodds"])[0], atol=1e-3)
