"""The optimised form of a network in the user's cache: the same answers, and nothing that is not what it was."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime import optimised, sessions
from cxr_edge.runtime.machine import Processor
from cxr_edge.runtime.optimised import KEPT, VARIABLE, entry_for, find_cache
from cxr_edge.runtime.sessions import onnxruntime, open_session

POSIX = hasattr(os, "geteuid")
pytestmark = pytest.mark.skipif(
    not optimised._borrows(onnxruntime), reason="this ONNX Runtime copies weights: nothing is kept"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


@pytest.fixture(scope="module")
def network(tiny_bundle):
    return Bundle.open(tiny_bundle).network("classifier.onnx")


@pytest.fixture
def opened(monkeypatch):
    """What ONNX Runtime is given to open, in order."""
    opened, real = [], onnxruntime.InferenceSession

    def remember(source, options, **others):
        opened.append(source)
        return real(source, options, **others)

    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", remember)
    return opened


def answers(session):
    inputs = np.random.default_rng(0).uniform(0, 255, (3, 224, 224)).astype(np.float32)
    return session.run({"pixels": inputs}, ["logodds", "probability", "features", "descriptor"])


def start(network):
    return answers(open_session(network, provider="cpu", cached=True))


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_second_start_opens_the_optimised_graph_and_answers_the_same(network, cache, opened):
    plain = answers(open_session(bytes(network.content), provider="cpu"))
    first, second = start(network), start(network)
    assert equal(plain, first)
    assert equal(plain, second)
    [entry] = cache.iterdir()
    assert opened == [bytes(network.content), bytes(network.content), (entry / "graph.onnx").read_bytes()]
    assert len(json.loads((entry / "entry.json").read_bytes())["sha256"]) == 2


def test_what_was_read_and_hashed_is_what_is_used(network, cache):
    first = start(network)
    session = open_session(network, provider="cpu", cached=True)
    [entry] = cache.iterdir()
    assert np.frombuffer(session.inference.weights_in_use, np.uint8).ctypes.data % 64 == 0
    for path in entry.iterdir():  # in place, as a shared mapping would see it
        path.write_bytes(b"\0" * path.stat().st_size)
    assert equal(answers(session), first)


@pytest.mark.skipif(not POSIX, reason="modes are those of POSIX")
def test_the_folder_is_the_user_s_alone(network, cache):
    before = os.umask(0)
    try:
        start(network)
    finally:
        os.umask(before)
    for folder in (cache.parent, cache, *cache.iterdir()):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["graph.onnx", "weights.bin", "entry.json"])
@pytest.mark.parametrize("damage", ["byte", "short", "gone", "empty"])
def test_a_damaged_entry_is_made_anew(network, cache, opened, name, damage):
    first = start(network)
    [entry] = cache.iterdir()
    whole = (entry / name).read_bytes()
    if damage == "gone":
        (entry / name).unlink()
    else:
        middle = len(whole) // 2
        byte = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        (entry / name).write_bytes({"byte": byte, "short": whole[:middle], "empty": b""}[damage])
    assert equal(start(network), first)
    assert opened == [bytes(network.content), bytes(network.content)]
    assert equal(start(network), first)
    assert opened[2:] == [(next(cache.iterdir()) / "graph.onnx").read_bytes()]


def test_one_that_onnx_runtime_does_not_load_is_made_anew(network, cache):
    first = start(network)
    [entry] = cache.iterdir()
    stated = json.loads((entry / "entry.json").read_bytes())
    (entry / "graph.onnx").write_bytes(b"no graph")
    stated["sha256"]["graph.onnx"] = optimised._hashes(memoryview(b"no graph"))
    (entry / "entry.json").write_text(json.dumps(stated))
    assert equal(start(network), first)
    assert (next(cache.iterdir()) / "graph.onnx").read_bytes() != b"no graph"


def test_an_entry_that_says_it_is_for_something_else_is_not_used(network, cache, opened):
    start(network)
    [entry] = cache.iterdir()
    stated = json.loads((entry / "entry.json").read_bytes())
    stated["about"]["processor"]["model"] = "another"
    (entry / "entry.json").write_text(json.dumps(stated))
    start(network)
    assert opened == [bytes(network.content), bytes(network.content)]


def test_the_place_depends_on_network_runtime_and_processor(network, cache, monkeypatch):
    class Other:
        __version__ = "99.1"
        get_build_info = staticmethod(onnxruntime.get_build_info)

    folders = {entry_for(network.sha256, onnxruntime).folder, entry_for("0" * 64, onnxruntime).folder}
    folders.add(entry_for(network.sha256, Other).folder)
    monkeypatch.setattr(Other, "get_build_info", lambda: "another build")
    folders.add(entry_for(network.sha256, Other).folder)
    for model, sets in (("another", ("AVX2",)), ("another", ("AVX2", "AVX-512"))):
        monkeypatch.setattr(optimised, "read_processor", lambda m=model, s=sets: Processor(m, "x86_64", s))
        folders.add(entry_for(network.sha256, onnxruntime).folder)
    monkeypatch.setattr(optimised, "_features", lambda: ["none"])
    folders.add(entry_for(network.sha256, onnxruntime).folder)
    assert len(folders) == 7
    assert {folder.parent for folder in folders} == {cache}


@pytest.mark.usefixtures("cache")
def test_a_version_that_copies_weights_keeps_nothing(network):
    class Older:
        __version__ = "1.30.2"

    assert entry_for(network.sha256, Older) is None


@pytest.mark.skipif(not POSIX, reason="permissions are those of POSIX")
@pytest.mark.parametrize("where", ["file", "full"])
def test_a_folder_that_cannot_be_written_costs_nothing_but_the_entry(network, cache, monkeypatch, where):
    if where == "file":
        cache.parent.write_text("a file in its place")
    else:

        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.mkdtemp", fail)
    assert equal(start(network), answers(open_session(bytes(network.content), provider="cpu")))
    assert not cache.exists() or not list(cache.iterdir())


def test_a_write_that_onnx_runtime_gives_up_leaves_nothing_behind(network, cache, monkeypatch):
    real = onnxruntime.InferenceSession

    def full(source, options, **others):
        if options.optimized_model_filepath:
            raise RuntimeError("No space left on device")
        return real(source, options, **others)

    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", full)
    assert len(start(network)[0]) == 3
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(not POSIX, reason="owners and modes are those of POSIX")
def test_a_folder_that_others_may_write_into_is_not_used(network, cache, monkeypatch):
    cache.mkdir(parents=True)
    for folder in (cache, cache.parent):
        folder.chmod(0o777)
        assert find_cache().folder is None
        assert "others may write" in find_cache().reason
        start(network)
        assert list(cache.iterdir()) == []
        folder.chmod(0o700)
    assert find_cache().folder == cache.parent
    monkeypatch.setattr(os, "geteuid", lambda: 12345678)
    assert "another user" in find_cache().reason


def test_an_empty_variable_switches_it_off(network, monkeypatch, opened):
    monkeypatch.setenv(VARIABLE, "")
    start(network)
    start(network)
    assert opened == [bytes(network.content), bytes(network.content)]
    assert find_cache().reason == "CXR_EDGE_CACHE is empty"


def test_without_the_variable_it_is_the_user_s_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(optimised.sys, "platform", "linux")
    assert find_cache().folder == tmp_path / ".cache" / "cxr-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the standard
    assert find_cache().folder == tmp_path / ".cache" / "cxr-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert find_cache().folder == tmp_path / "x" / "cxr-edge"
    monkeypatch.setattr(optimised.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert find_cache().folder == tmp_path / "local" / "cxr-edge"


def test_no_home_is_no_fault(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert find_cache().folder is None
    assert "home directory" in find_cache().reason


def test_threads_that_start_at_once_leave_one_entry(network, cache):
    expected = answers(open_session(bytes(network.content), provider="cpu"))
    right = []
    threads = [threading.Thread(target=lambda: right.append(equal(start(network), expected))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 6
    assert len(list(cache.iterdir())) == 1


def test_processes_that_start_at_once_answer_alike_and_leave_one_entry(tiny_bundle, cache, radiographs):
    command = [sys.executable, "-m", "cxr_edge", "predict", "--json", "--bundle", tiny_bundle, "--provider", "cpu"]
    command.append(radiographs / "person724_virus_1343.jpeg")
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert printed[0] == printed[1] != b""
    assert len(list(cache.iterdir())) == 1


def test_only_so_many_entries_stay(network, cache):
    cache.mkdir(parents=True)
    for number in range(KEPT + 2):
        (cache / f"old{number}").mkdir()
        os.utime(cache / f"old{number}", (1e9 + number, 1e9 + number))
    (cache / ".abandoned").mkdir()
    os.utime(cache / ".abandoned", (1e9, 1e9))
    (cache / ".being-written").mkdir()
    start(network)
    names = {path.name for path in cache.iterdir()}
    own = entry_for(network.sha256, onnxruntime).folder.name
    assert names == {own, ".being-written", *(f"old{number}" for number in range(3, KEPT + 2))}


def test_what_is_no_network_of_a_bundle_is_not_kept(network, cache):
    for source in (bytes(network.content), network):
        open_session(source, provider="cpu", cached=source is bytes(network.content))
    assert not cache.exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_shipped_networks_answer_the_same_from_the_cache(cache, precision):
    bundle = Bundle.open()
    network = bundle.network(bundle.manifest.precisions[precision].file)
    first, second = start(network), start(network)
    assert equal(first, second)
    assert len(list(cache.iterdir())) == 1
