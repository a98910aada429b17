import json
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import ProviderError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime import openvino, providers
from cxr_edge.runtime.machine import Processor
from cxr_edge.runtime.providers import ACCELERATORS, Obstacle, bf16_obstacle
from cxr_edge.runtime.self_test import TOLERANCE, self_test
from cxr_edge.runtime.sessions import onnxruntime, open_session

CPU = ACCELERATORS["openvino"]
WITH_BF16 = Processor("a processor", "x86_64", ("AVX-512 BF16",))
WITHOUT = Processor("a processor", "x86_64", ("AVX2",))


def on_a_device():
    """Skip unless OpenVINO lists this processor."""
    found = openvino.find_devices(onnxruntime, CPU)
    if isinstance(found, Obstacle):
        pytest.skip(found.reason)


def device(name, kind):
    return SimpleNamespace(ep_name=name, device=SimpleNamespace(type=SimpleNamespace(name=kind)))


@pytest.fixture
def runtime(monkeypatch):
    """An ONNX Runtime whose plug-in lists a CPU and two GPUs."""
    monkeypatch.setattr(openvino, "find_spec", lambda _: True)
    monkeypatch.setattr(openvino, "import_module", lambda _: SimpleNamespace(get_library_path=lambda: "library"))
    monkeypatch.setattr(openvino, "_registered", [])
    listed = [device("CPUExecutionProvider", "CPU")]
    listed += [device(CPU.provider, "CPU"), device(CPU.provider, "GPU"), device(CPU.provider, "GPU")]
    registered = []
    return SimpleNamespace(
        register_execution_provider_library=lambda *given: registered.append(given),
        get_ep_devices=lambda: listed,
        registered=registered,
        listed=listed,
    )


def test_the_library_is_registered_once_and_the_device_is_the_one_that_was_named(runtime):
    assert openvino.find_devices(runtime, CPU) == [runtime.listed[1]]
    assert openvino.find_devices(runtime, ACCELERATORS["openvino:gpu"]) == [runtime.listed[2]]
    assert runtime.registered == [("cxr-edge-openvino", "library")]


def test_a_device_that_is_not_there_is_never_replaced(runtime):
    found = openvino.find_devices(runtime, ACCELERATORS["openvino:npu"])
    assert found.reason == "OpenVINO lists no NPU of this machine"


def test_a_library_that_cannot_be_loaded_says_why(runtime):
    def fail(*_):
        raise RuntimeError("libtbb.so.12: cannot open\nmore")

    runtime.register_execution_provider_library = fail
    assert openvino.find_devices(runtime, CPU).reason == "OpenVINO cannot be registered: libtbb.so.12: cannot open"


@pytest.mark.parametrize(("bf16", "hint"), [(False, "f32"), (True, "bf16")])
def test_the_precision_is_always_stated_and_only_in_load_config(bf16, hint, tmp_path):
    told = openvino.settings_of(CPU, threads=2, bf16=bf16, cache=tmp_path)
    assert told.keys() == {"load_config"}
    values = json.loads(told["load_config"])["CPU"]
    assert values["INFERENCE_PRECISION_HINT"] == hint
    assert values["CACHE_DIR"] == str(tmp_path)
    assert (
        "INFERENCE_NUM_THREADS"
        not in openvino.settings_of(ACCELERATORS["openvino:gpu"], threads=2, bf16=False, cache=None)["load_config"]
    )


@pytest.mark.parametrize(("cores", "threads", "streams", "all_of_them"), [(2, 2, 1, 2), (8, 1, 8, 8), (8, 3, 2, 6)])
def test_as_many_runs_at_once_as_there_are_cores_for(cores, threads, streams, all_of_them, monkeypatch):
    monkeypatch.setattr(openvino, "usable_cores", lambda: cores)
    told = openvino.settings_of(CPU, threads=threads, bf16=False, cache=None)
    values = json.loads(told["load_config"])["CPU"]
    assert (values["NUM_STREAMS"], values["INFERENCE_NUM_THREADS"]) == (str(streams), str(all_of_them))


def test_compiled_networks_are_kept_apart_by_all_that_they_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino, "installed_plugin", lambda: "1.8.1")
    first = openvino.compile_cache("a", CPU, threads=1, bf16=False)
    assert first.is_dir()
    assert first == openvino.compile_cache("a", CPU, threads=1, bf16=False)
    others = [
        openvino.compile_cache("b", CPU, threads=1, bf16=False),
        openvino.compile_cache("a", ACCELERATORS["openvino:gpu"], threads=1, bf16=False),
        openvino.compile_cache("a", CPU, threads=2, bf16=False),
        openvino.compile_cache("a", CPU, threads=1, bf16=True),
    ]
    monkeypatch.setattr(openvino, "read_processor", lambda: WITHOUT)
    others.append(openvino.compile_cache("a", CPU, threads=1, bf16=False))
    monkeypatch.setattr(openvino, "installed_plugin", lambda: "1.8.2")
    others.append(openvino.compile_cache("a", CPU, threads=1, bf16=False))
    assert len({first, *others}) == 7
    monkeypatch.setenv("CXR_EDGE_CACHE", "")
    assert openvino.compile_cache("a", CPU, threads=1, bf16=False) is None


def test_bf16_is_computed_by_openvino_on_a_processor_with_the_instructions_alone(tiny_bundle, monkeypatch):
    monkeypatch.setattr(providers, "read_processor", lambda: WITHOUT)
    with pytest.raises(ProviderError, match="bf16 was asked for, but a processor has no instructions") as raised:
        open_session(tiny_bundle / "classifier.onnx", bf16=True)
    assert raised.value.exit_code == 4
    monkeypatch.setattr(providers, "read_processor", lambda: WITH_BF16)
    assert bf16_obstacle("openvino") is None
    with pytest.raises(ProviderError, match="cpu does not compute this network in bf16"):
        Classifier(Bundle.open(tiny_bundle), precision="bf16", provider="cpu")
    monkeypatch.setattr(openvino, "find_spec", lambda _: None)
    with pytest.raises(ProviderError, match="onnxruntime-ep-openvino is not installed"):
        Classifier(Bundle.open(tiny_bundle), precision="bf16")


def test_what_this_machine_lists_is_what_it_says():
    found = openvino.find_devices(onnxruntime, CPU)
    if isinstance(found, Obstacle):
        assert "not installed" in found.reason or "lists no CPU" in found.reason or "no plug-ins" in found.reason
    else:
        assert [each.ep_name for each in found] == [CPU.provider]


def test_fp32_that_ran_was_float32():
    on_a_device()
    report = self_test(Bundle.open(), provider="openvino")
    assert max(report.differences.values()) <= TOLERANCE  # bf16 would be off a hundred times as much


def test_bf16_that_ran_was_bf16():
    on_a_device()
    if reason := bf16_obstacle("openvino"):
        pytest.skip(reason)
    bundle = Bundle.open()
    inputs = np.load(bundle.path("golden.npz"))["inputs"][:8].astype(np.float32)
    exact = Classifier(bundle, provider="cpu").logodds(inputs)
    found = Classifier(bundle, precision="bf16").logodds(inputs)
    assert 1e-3 < np.abs(found - exact).max() < 0.3
