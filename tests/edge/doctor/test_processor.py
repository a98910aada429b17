"""What the doctor says of processors that the tests describe, whatever processor runs them."""

import pytest

from cxr_edge.doctor import installation
from cxr_edge.runtime.machine import Machine, Processor

X86 = ("AVX2", "AVX-512", "AVX-VNNI", "AVX-512 VNNI", "AVX-512 BF16", "AMX-INT8", "AMX-BF16")
NO_BF16 = "the processor has no instructions for it"
BF16 = "the processor has instructions for it; ONNX Runtime on the CPU computes fp32 in fp32"


@pytest.fixture
def examined(monkeypatch):
    """Examine a processor; give the findings by name."""

    def examined(architecture, sets):
        described = Processor("Some CPU", architecture, sets)
        monkeypatch.setattr(installation, "read_processor", lambda: described)
        return {each.name: each for each in installation.examine_processor()}

    return examined


@pytest.mark.parametrize(
    ("architecture", "sets", "int8", "bf16"),
    [
        ("x86_64", (), "not quicker than fp32", NO_BF16),
        ("x86_64", ("AVX2",), "gains less: no VNNI", NO_BF16),
        ("AMD64", ("AVX2", "AVX-VNNI"), "quick: ", NO_BF16),
        ("x86_64", ("AVX2", "AVX-512"), "gains less: no VNNI", NO_BF16),
        ("x86_64", ("AVX2", "AVX-512", "AVX-512 VNNI"), "quick: ", NO_BF16),
        ("x86_64", ("AVX2", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16"), "quick: ", BF16),
        ("x86_64", X86, "quick: ", BF16),
        ("aarch64", ("NEON",), "not quicker than fp32", NO_BF16),
        ("aarch64", ("NEON", "dot product"), "quick: ", NO_BF16),
        ("aarch64", ("NEON", "dot product", "I8MM", "BF16"), "quick: ", BF16),
        ("riscv64", None, "unknown", "unknown"),
        ("arm64", None, "unknown", "unknown"),
    ],
)
def test_instructions_and_what_they_mean(examined, architecture, sets, int8, bf16):
    found = examined(architecture, sets)
    assert found["int8"].summary.startswith(int8)
    assert found["bf16"].summary.startswith(bf16)
    status = "note" if sets is None else "ok"
    assert {found[name].status for name in ("instructions", "int8", "bf16")} == {status}
    features = found["instructions"].facts["features"]
    assert (features if sets is None else tuple(name for name, there in features.items() if there)) == sets


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (X86, f"Some CPU: {', '.join(X86)}"),
        (X86[:1], f"Some CPU: AVX2 (without {', '.join(X86[1:])})"),
        ((), f"Some CPU: none that matters (without {', '.join(X86)})"),
    ],
)
def test_what_is_missing_is_named_only_where_something_is(examined, sets, said):
    assert examined("x86_64", sets)["instructions"].summary == said


def test_cores_and_memory_that_may_be_used(monkeypatch):
    def examined(usable, memory):
        machine = Machine("CPU", "x86_64", 8, usable, None, "Linux", "6", "3", {}, None, None, memory)
        monkeypatch.setattr(installation, "read_machine", lambda: machine)
        return [(each.status, each.summary) for each in installation.examine_processor()][:2]

    assert examined(8, 2**34) == [("ok", "8 of 8 may be used"), ("ok", "16.0 GiB may be used")]
    assert examined(2, None) == [
        ("ok", "2 of 8 may be used (affinity or container limit)"),
        ("note", "unknown on this operating system"),
    ]
