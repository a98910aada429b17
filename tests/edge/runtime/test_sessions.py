import json
import os
import sys
import threading
import time
from types import FunctionType

import numpy as np
import onnxruntime
import pytest

from cxr_edge.errors import BundleError, ProviderError, UsageError
from cxr_edge.runtime import machine, openvino, sessions
from cxr_edge.runtime.binding import Binding
from cxr_edge.runtime.providers import ACCELERATORS, has_nvidia_driver
from cxr_edge.runtime.sessions import Session, open_session

WITHOUT_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
OPEN = onnxruntime.InferenceSession


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return tiny_bundle / "classifier.onnx"


@pytest.fixture
def substitute(monkeypatch):
    """Put an ONNX Runtime in place that lists every provider; ``start`` says what opening one does."""

    class Made:
        def __init__(self, start):
            self.start, self.asked, self.options, self.settings = start, [], None, None

        def __call__(self, source, options, *, providers, enable_fallback):
            assert enable_fallback == 0
            providers = providers or [("OpenVINOExecutionProvider", self.settings), "CPUExecutionProvider"]
            name = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
            self.asked.append(providers)
            inference = OPEN(source, options, providers=["CPUExecutionProvider"])
            if name != "CPUExecutionProvider":
                self.options = options
                self.start(name)
                inference.get_providers = lambda: [name, "CPUExecutionProvider"]
            return inference

    def substitute(start, *, preload=lambda: None):
        made = Made(start)
        listed = [each.provider for each in ACCELERATORS.values()]
        monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: [*listed, "CPUExecutionProvider"])
        monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", made)
        monkeypatch.setattr(sessions.onnxruntime, "preload_dlls", preload)
        monkeypatch.setattr(sessions, "has_nvidia_driver", lambda: True)
        monkeypatch.setattr(openvino, "find_devices", lambda _runtime, accelerator: [accelerator.hardware])
        attach = lambda _options, devices, settings: setattr(made, "settings", {"devices": devices, **settings})  # noqa: E731
        monkeypatch.setattr(onnxruntime.SessionOptions, "add_provider_for_devices", attach)
        return made

    return substitute


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


def test_a_plug_in_that_is_not_installed_is_named_with_its_extra(model, monkeypatch):
    monkeypatch.setattr(openvino, "find_spec", lambda _: None)
    with pytest.raises(ProviderError, match=r"plug-in onnxruntime-ep-openvino is not inst.*cxr-edge\[openvino\]"):
        open_session(model, provider="openvino")


def test_an_onnx_runtime_that_takes_no_plug_ins_is_said_so(model, monkeypatch):
    monkeypatch.setattr(openvino, "find_spec", lambda _: True)
    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    with pytest.raises(ProviderError, match=r"takes no plug-ins; .*onnxruntime>=1\.23"):
        open_session(model, provider="openvino")


@pytest.mark.parametrize("word", ["directml"])
def test_an_accelerator_that_is_not_built_in_names_its_package(model, word, monkeypatch):
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=rf"built without {ACCELERATORS[word].title}.*cxr-edge\[{word}\]"):
        open_session(model, provider=word)


def say_as_preloading_does():
    print("Failed to load libcublasLt.so.13: cannot open shared object file")  # noqa: T201


def without_cuda(monkeypatch, *, driver):
    # What onnxruntime-gpu does on a machine without CUDA: it lists the provider, prints, and opens on the CPU.
    def quietly_on_the_cpu(source, options, **_):
        return OPEN(source, options, providers=["CPUExecutionProvider"])

    # The function looks up its names, `print` among them, where ONNX Runtime's own does.
    preload = FunctionType(say_as_preloading_does.__code__, vars(onnxruntime))
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(sessions.onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", quietly_on_the_cpu)
    monkeypatch.setattr(sessions, "has_nvidia_driver", lambda: driver)


@pytest.mark.parametrize("driver", [True, False])
def test_cuda_that_is_listed_but_does_not_start_is_not_believed(model, monkeypatch, driver):
    without_cuda(monkeypatch, driver=driver)
    session = open_session(model, provider="auto")
    assert session.provider == "cpu"
    assert "libcublasLt.so.13" in session.reason
    with pytest.raises(ProviderError, match=r"libcublasLt\.so\.13") as raised:
        open_session(model, provider="cuda")
    assert raised.value.exit_code == 4
    assert "onnxruntime-gpu[cuda,cudnn]" in str(raised.value)


def test_what_preloading_prints_stays_out_of_the_results_and_nobody_else_is_silenced(model, monkeypatch, capsys):
    without_cuda(monkeypatch, driver=True)
    before, printing = sys.stdout, threading.Event()
    others = []

    def preload():
        say()
        others.append(sys.stdout is before)  # what another thread prints now goes where it always goes
        printing.set()

    say = onnxruntime.preload_dlls
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    with pytest.raises(ProviderError):
        open_session(model, provider="cuda")
    assert printing.is_set()
    assert others == [True]
    assert "print" not in vars(onnxruntime)
    assert capsys.readouterr().out == ""


def test_the_log_level_of_the_process_is_nobody_s_business(model, monkeypatch, substitute):
    def fail(_level):
        raise AssertionError("the default logger is everybody's")

    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", fail)
    substitute(lambda _: None)
    for word in ("cuda", "openvino", "directml"):
        assert open_session(model, provider=word).provider == word


@pytest.mark.parametrize("word", ["cuda", "openvino", "directml"])
def test_an_accelerator_that_raises_says_why_and_is_no_fault_of_the_bundle(model, substitute, word):
    def refuse(name):
        raise RuntimeError(f"{name}: no device\nmore")

    substitute(refuse)
    with pytest.raises(ProviderError) as raised:
        open_session(model, provider=word)
    assert "asked for, but" in str(raised.value)
    assert "more" not in str(raised.value)
    if word != "cuda":  # there the missing libraries, if any, say more
        assert "no device" in str(raised.value)


def test_a_damaged_network_is_the_bundle_s_fault_on_every_provider(substitute):
    substitute(lambda _: None)
    for provider in ("cpu", "auto", "openvino"):
        with pytest.raises(BundleError, match="cannot load the network"):
            open_session(b"not onnx", provider=provider)


def test_auto_takes_cuda_before_all_others_and_says_so(model, substitute):
    made = substitute(lambda _: None)
    session = open_session(model, provider="auto", threads=3)
    assert (session.provider, session.reason) == ("cuda", "CUDA started")
    [[(name, options), _]] = made.asked
    assert (name, options["cudnn_conv_algo_search"], options["use_tf32"]) == (
        "CUDAExecutionProvider", "HEURISTIC", "0"
    )  # fmt: skip
    assert isinstance(session.binding, Binding)


def test_auto_leaves_what_was_not_asked_for_alone(model, substitute):
    def refuse_cuda(name):
        if name == "CUDAExecutionProvider":
            raise RuntimeError("no")

    made = substitute(refuse_cuda)
    assert open_session(model, provider="auto").provider == "cpu"
    assert [providers[0] for providers in made.asked][1:] == ["CPUExecutionProvider"]


def test_openvino_gets_the_threads_and_directml_no_memory_pattern(model, substitute, monkeypatch):
    monkeypatch.setattr("cxr_edge.runtime.openvino.usable_cores", lambda: 4)
    made = substitute(lambda _: None)
    session = open_session(model, provider="openvino", threads=3)
    assert (session.provider, session.reason, session.binding) == ("openvino", "asked for", None)
    assert made.settings["devices"] == ["CPU"]
    told = json.loads(made.settings["load_config"])
    assert told == {"CPU": {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "3"}}
    assert made.options.enable_mem_pattern
    assert open_session(model, provider="directml").provider == "directml"
    assert not made.options.enable_mem_pattern


def test_an_accelerator_that_breaks_down_is_not_replaced():
    class Broken:
        def run(self, *_):
            raise RuntimeError("out of memory\nmore")

    with pytest.raises(ProviderError, match=r"CUDA started, but broke down \(out of memory\)"):
        Session(Broken(), "cuda", "asked for", 1).run({}, [])
    with pytest.raises(RuntimeError):
        Session(Broken(), "cpu", "asked for", 1).run({}, [])


@pytest.mark.parametrize("options", [{"provider": "gpu"}, {"threads": 0}, {"threads": 5}, {"threads": 100_000}])
def test_wrong_options(model, options):
    with pytest.raises(UsageError, match="expected"):
        open_session(model, **options)


def test_spinning_can_be_switched_off_and_always_stops_between_runs(model):
    for spinning in (True, False):
        options = open_session(model, provider="cpu", threads=2, spinning=spinning).inference.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")  # noqa: PTH112
def test_a_second_session_brings_no_thread_that_works_while_the_first_one_runs(model):
    def threads():
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208

    before = threads()
    first = open_session(model, provider="cpu", threads=2)
    assert threads() == before + 1  # the caller is the other one
    second = open_session(model, provider="cpu", threads=1)
    assert threads() == before + 1
    inputs = {"pixels": np.zeros((8, 224, 224), np.float32)}
    for session in (first, second, first):
        session.run(inputs, ["logodds"])
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.02  # nothing spins: what is left is the sleeping itself


def test_bound_runs_pad_and_cut_and_answer_the_same(model):
    # The device is the host here; on a GPU the same lines run with another word.
    session = open_session(model, provider="cpu")
    bound = Binding(onnxruntime, session.inference, "cpu")
    random = np.random.default_rng(0)
    outputs = ["features", "logodds"]
    for count in (1, 3, 16, 17, 3):
        inputs = {"pixels": random.uniform(0, 255, (count, 224, 224)).astype(np.float32)}
        for plain, with_binding in zip(session.run(inputs, outputs), bound.run(inputs, outputs), strict=True):
            assert plain.shape == with_binding.shape
            np.testing.assert_allclose(plain, with_binding, rtol=1e-5, atol=1e-5)


def test_threads_that_share_a_bound_session_do_not_mix_their_inputs(model):
    session = open_session(model, provider="cpu", threads=1)
    shared = Session(session.inference, "cuda", "asked for", 1, Binding(onnxruntime, session.inference, "cpu"))
    wrong = []

    def work(level):
        inputs = {"pixels": np.full((2, 224, 224), level, np.float32)}
        expected = session.run(inputs, ["logodds"])[0]
        answers = [shared.run(inputs, ["logodds"])[0] for _ in range(30)]
        wrong.extend(level for answer in answers if not np.allclose(answer, expected, atol=1e-5))

    workers = [threading.Thread(target=work, args=(level,)) for level in (10, 90, 170, 250)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.cuda
@pytest.mark.skipif(WITHOUT_CUDA, reason="needs onnxruntime-gpu")
@pytest.mark.skipif(not has_nvidia_driver(), reason="needs an NVIDIA GPU with its driver")
@pytest.mark.parametrize("count", [1, 3, 16])
def test_cuda_runs_on_cuda(model, count):
    session = open_session(model, provider="cuda")
    assert session.provider == "cuda"
    cpu = open_session(model, provider="cpu")
    inputs = {"pixels": np.random.default_rng(0).uniform(0, 255, (count, 224, 224)).astype(np.float32)}
    np.testing.assert_allclose(session.run(inputs, ["logodds"])[0], cpu.run(inputs, ["logodds"])[0], atol=1e-3)
