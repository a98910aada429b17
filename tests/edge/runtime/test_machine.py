"""The description of the machine; what it says of a processor is told by files that the tests write."""

import json
import platform
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from cxr_edge.runtime import machine as machines
from cxr_edge.runtime.machine import Machine, read_machine, read_processor

MACHINE = Machine("CPU X", "x86_64", 8, 4, None, "Linux", "6.1", "3.11.1", {"numpy": "2.0"}, 0.1, ("AVX2",), 2**33)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Read the processor of an architecture whose /proc/cpuinfo has these lines; None has no such file."""

    def processor(architecture, *lines):
        file = tmp_path / "cpuinfo"
        if lines != (None,):
            core = "\n".join(lines) + "\n"
            file.write_text(f"processor : 0\n{core}\nprocessor : 1\nmodel name : another\nflags : all\n", "utf-8")
        monkeypatch.setattr(machines, "_CPUINFO", file)
        monkeypatch.setattr(machines.platform, "machine", lambda: architecture)
        return read_processor()

    return processor


@pytest.mark.parametrize(
    ("architecture", "flags", "sets", "int8", "bf16"),
    [
        ("x86_64", "flags : fpu sse2", (), False, False),
        ("x86_64", "flags : fpu avx2", ("AVX2",), False, False),
        ("AMD64", "flags : avx_vnni avx2", ("AVX2", "AVX-VNNI"), True, False),
        ("x86_64", "flags : avx2 avx512f", ("AVX2", "AVX-512"), False, False),
        ("x86_64", "flags : avx2 avx512f avx512_vnni", ("AVX2", "AVX-512", "AVX-512 VNNI"), True, False),
        ("x86_64", "flags : avx512f avx512_bf16", ("AVX-512", "AVX-512 BF16"), False, True),
        ("x86_64", "flags : amx_tile amx_int8 amx_bf16", ("AMX-INT8", "AMX-BF16"), True, True),
        ("aarch64", "Features : fp asimd", ("NEON",), False, False),
        ("aarch64", "Features : asimd asimddp bf16", ("NEON", "dot product", "BF16"), True, True),
        ("riscv64", "isa : rv64", None, None, None),
    ],
)
def test_instruction_sets_of_a_processor(processor, architecture, flags, sets, int8, bf16):
    found = processor(architecture, "model name : Some CPU", flags)
    assert (found.model, found.architecture) == ("Some CPU", architecture)
    assert found.instruction_sets == sets
    assert (found.multiplies_int8, found.multiplies_bf16) == (int8, bf16)
    assert set(sets or ()) <= set(found.known_instruction_sets)


def test_a_processor_without_a_model_name_is_still_told_from_others(processor):
    one, other = (processor("aarch64", "CPU implementer : 0x41", f"CPU part : {part}") for part in ("0xd0c", "0xd40"))
    assert one != other
    assert "0x41" in one.model


def test_elsewhere_than_on_linux(processor, monkeypatch):
    monkeypatch.setattr(machines.platform, "processor", lambda: "Intel64 Family 6")
    assert processor("AMD64", None) == machines.Processor("Intel64 Family 6", "AMD64", None)
    monkeypatch.setattr(machines.platform, "processor", lambda: "")
    assert processor("", None).model == "unknown"


def test_what_is_read_here_survives_json_and_names_nobody():
    here = read_machine()
    text = json.dumps(here.to_json(), allow_nan=False)
    assert Machine.from_json(json.loads(text)) == here
    assert {"cxr-edge", "numpy", "pydicom"} <= set(here.packages)
    assert here.processor
    assert here.accelerator is None
    assert here.usable_cores >= 1
    assert platform.node() not in map(str, here.to_json().values())


def test_a_record_of_the_first_release_is_read():
    record = MACHINE.to_json()
    del record["instruction_sets"], record["usable_memory"]
    assert Machine.from_json(record) == replace(MACHINE, instruction_sets=None, usable_memory=None)


@pytest.mark.parametrize(("key", "value"), [("cores", "8"), ("packages", [1]), ("load", "0"), ("processor", None)])
def test_a_part_of_another_type_is_named(key, value):
    with pytest.raises(msgspec.ValidationError, match=rf"Expected .* `\$\.{key}"):
        Machine.from_json(MACHINE.to_json() | {key: value})


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "CPU Y"},
        {"architecture": "aarch64"},
        {"cores": 16},
        {"usable_cores": 2},
        {"accelerator": "GPU"},
        {"system": "Windows"},
        {"instruction_sets": ("AVX2", "AVX-512")},
    ],
)
def test_another_kind_of_machine(change):
    assert not MACHINE.is_like(replace(MACHINE, **change))


def test_versions_load_and_what_is_not_known_make_no_other_machine():
    same = replace(MACHINE, load=7.0, release="7", python="3.12", packages={}, usable_memory=1, instruction_sets=None)
    assert MACHINE.is_like(same)
    assert same.is_like(MACHINE)


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.2, False), (0.6, True), (8.0, True)])
def test_a_busy_machine_is_noticed(load, busy):
    assert replace(MACHINE, load=load, cores=4, usable_cores=4).busy is busy
    assert not replace(MACHINE, load=3.0, cores=8, usable_cores=4).busy


def test_a_gpu_is_named_where_cuda_computes(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA T4'\n", encoding="ascii")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = read_machine(cuda=True)
    assert found.accelerator == "NVIDIA T4"
    assert "NVIDIA T4" in str(found)
    tool.unlink()
    assert read_machine(cuda=True).accelerator == "unnamed GPU"


def test_importing_it_imports_nothing_heavy():
    heavy = {"numpy", "onnxruntime", "msgspec", "subprocess", "importlib.metadata"}
    program = f"""
import sys
before = set(sys.modules)
import cxr_edge.runtime.machine
print(({heavy} - before) & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
