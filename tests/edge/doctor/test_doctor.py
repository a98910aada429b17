"""The doctor on a healthy machine, and on all kinds of sick ones: it reports, and never breaks down itself."""

import base64
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path
from types import FunctionType

import onnx
import pytest
from onnx import helper
from rich.console import Console

from cxr_edge import cli
from cxr_edge.bundle.bundle import write_manifest
from cxr_edge.commands.doctor import show_examination
from cxr_edge.doctor import examine, installation, network
from cxr_edge.doctor.finding import Examination, Finding
from cxr_edge.errors import BundleError, ProviderError
from cxr_edge.runtime import providers, sessions
from cxr_edge.runtime import providers as accelerators
from cxr_edge.runtime.providers import ACCELERATORS
from tiny import manifest_values


@pytest.fixture
def find(tiny_bundle):
    """Examine; give the report and its findings by area and name."""

    def find(**options):
        report = examine(**{"bundle": tiny_bundle, **options})
        return report, {f"{each.area} {each.name}": each for each in report.findings}

    return find


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture
def cuda_fails(monkeypatch):
    """An ONNX Runtime with CUDA, on a machine without."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    opened = sessions.onnxruntime.InferenceSession
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: listed)
    # The function looks up its names, `print` among them, where ONNX Runtime's own does.
    say = FunctionType((lambda: print("Failed to load libcublasLt.so.13: no")).__code__, vars(sessions.onnxruntime))  # noqa: T201
    monkeypatch.setattr(sessions.onnxruntime, "preload_dlls", say)
    monkeypatch.setattr(
        sessions.onnxruntime,
        "InferenceSession",
        lambda model, options, **_: opened(model, options, providers=["CPUExecutionProvider"]),
    )


def test_a_healthy_machine(find):
    report, findings = find(provider="cpu")
    assert (report.exit_code, report.faults) == (0, ())
    assert findings["installation onnxruntime"].facts["imported"] == sessions.onnxruntime.__version__
    assert set(findings["installation packages"].facts["versions"]) >= {"cxr-edge", "numpy", "pydicom"}
    assert findings["providers cpu"].facts == {"built_in": True, "starts": True}
    assert findings["processor cores"].facts["usable"] >= 1
    assert "4 answers" in findings["bundle self-test on cpu"].summary
    assert findings["bundle self-test on cpu"].facts["passed"]
    assert findings["DICOM RLE"].status == "ok"


def test_the_probe_is_one_convolution():
    value = helper.make_tensor_value_info
    shape = ["N", 1, 2, 2]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [value("x", onnx.TensorProto.FLOAT, shape)],
        [value("y", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 1, 1, 1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    assert base64.b64encode(network.PROBE) == base64.b64encode(model.SerializeToString())


def test_two_distributions_are_a_fault_with_the_two_lines_that_mend_it(find, monkeypatch):
    monkeypatch.setattr(providers, "installed", lambda: {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    for driver, extra in ((False, "cpu"), (True, "gpu")):
        monkeypatch.setattr("cxr_edge.doctor.installation.has_nvidia_driver", lambda driver=driver: driver)
        report, findings = find(provider="cpu")
        finding = findings["installation onnxruntime"]
        assert (finding.status, report.exit_code) == ("fault", 4)
        assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed" in finding.summary
        assert finding.cure == (
            "python -m pip uninstall -y onnxruntime onnxruntime-gpu",
            f'python -m pip install "cxr-edge[{extra}]"',
        )


def test_one_distribution_kept_for_its_accelerator_is_reinstalled_with_it(find, monkeypatch):
    monkeypatch.setattr(providers, "installed", lambda: {"onnxruntime": "1", "onnxruntime-directml": "1"})
    monkeypatch.setattr("cxr_edge.doctor.installation.has_nvidia_driver", lambda: False)
    _, findings = find(provider="cpu")
    assert findings["installation onnxruntime"].cure[1] == 'python -m pip install "cxr-edge[directml]"'


@pytest.mark.usefixtures("cuda_fails")
def test_cuda_that_is_built_in_and_does_not_start_is_a_fault_unless_the_cpu_is_wanted(find):
    for provider, code in (("auto", 4), ("cuda", 4), ("cpu", 0)):
        report, findings = find(provider=provider)
        assert report.exit_code == code
        assert findings["providers cuda"].status == ("fault" if code else "note")
        assert "libcublasLt.so.13" in findings["providers cuda"].summary
        assert findings["bundle self-test on cpu"].status == "ok"


def test_cuda_that_is_asked_for_and_not_built_in_is_a_fault(find, monkeypatch):
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    report, findings = find(provider="cuda")
    assert report.exit_code == 4
    assert 'python -m pip install "cxr-edge[gpu]"' in findings["providers cuda"].cure
    assert find(provider="auto")[0].exit_code == 0


def test_a_driver_without_cuda_in_onnx_runtime_is_worth_a_note(find, monkeypatch):
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(network, "has_nvidia_driver", lambda: True)
    report, findings = find()
    assert report.exit_code == 0
    assert "though an NVIDIA driver is here" in findings["providers cuda"].summary
    assert findings["providers cuda"].cure


def test_an_accelerator_that_starts_is_tested_against_keras_too(find, monkeypatch):
    opened = sessions.onnxruntime.InferenceSession

    def open_anything(model, options, *, providers, **_):
        inference = opened(model, options, providers=["CPUExecutionProvider"])
        inference.get_providers = lambda: [providers[0][0] if isinstance(providers[0], tuple) else providers[0]]
        return inference

    listed = ["DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", open_anything)
    report, findings = find()
    assert findings["providers directml"].status == findings["bundle self-test on directml"].status == "ok"
    assert report.exit_code == 0


def test_a_changed_bundle_is_5_and_the_rest_is_still_examined(find, copy):
    (copy / "gradcam.onnx").write_bytes(b"changed")
    report, findings = find(bundle=copy, provider="cpu")
    assert report.exit_code == 5
    assert "gradcam.onnx" in findings["bundle files"].summary
    assert findings["bundle files"].cure
    assert "DICOM RLE" in findings
    assert find(bundle=copy / "nowhere", provider="cpu")[0].exit_code == 5


def test_a_bundle_that_answers_otherwise_is_5(find, copy):
    import numpy as np

    with np.load(copy / "golden.npz") as stored:
        np.savez(copy / "golden.npz", **{**stored, "logodds": stored["logodds"] + 1})
    write_manifest(copy, manifest_values())
    report, findings = find(bundle=copy, provider="cpu")
    assert report.exit_code == 5
    assert findings["bundle files"].status == "ok"
    assert "logodds differs" in findings["bundle self-test on cpu"].summary


def test_a_network_that_answers_nan_is_5_and_json_all_the_same(find, copy):
    model = onnx.load(copy / "classifier.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b2")
    bias.CopyFrom(helper.make_tensor("b2", onnx.TensorProto.FLOAT, bias.dims, [math.nan]))
    onnx.save(model, copy / "classifier.onnx")
    write_manifest(copy, manifest_values())
    report, findings = find(bundle=copy, provider="cpu")
    assert report.exit_code == 5
    assert findings["bundle self-test on cpu"].facts["differences"]["logodds"] is None
    json.dumps(report.to_json(), allow_nan=False)


def test_a_sealed_bundle_with_a_network_that_does_not_load_is_5(find, copy):
    (copy / "classifier.onnx").write_bytes(b"no network")
    write_manifest(copy, manifest_values())
    report, findings = find(bundle=copy, provider="cpu")
    assert report.exit_code == 5
    assert "cannot load the network" in findings["bundle self-test on cpu"].summary


def test_missing_decoders_are_notes_that_name_what_they_lack(find, monkeypatch):
    from pydicom import pixels

    class Nothing:
        available_plugins = ()
        missing_dependencies = ("pylibjpeg - requires pylibjpeg>=2.0", "pillow - requires pillow>=10.0")

    monkeypatch.setattr(pixels, "get_decoder", lambda _: Nothing())
    report, findings = find(provider="cpu")
    finding = findings["DICOM JPEG 2000"]
    assert (finding.status, report.exit_code) == ("note", 0)
    assert finding.summary == "cannot be decoded; it lacks pylibjpeg>=2.0, or pillow>=10.0"
    assert finding.cure == ('python -m pip install "cxr-edge[dicom]"',)
    assert finding.facts["1.2.840.10008.1.2.4.90"]["plugins"] == []


def test_the_first_fault_gives_the_exit_code():
    def fault(code):
        return Finding("a", str(code), "fault", "s", exit_code=code)

    assert Examination((Finding("a", "n", "note", "s"), fault(4), fault(5))).exit_code == 4
    assert not Examination((fault(5),)).to_json()["healthy"]


def test_the_table_says_everything_and_keeps_lines_to_type_whole():
    cure = ("python -m pip uninstall -y onnxruntime onnxruntime-gpu", 'python -m pip install "cxr-edge[cpu]"')
    findings = (
        Finding("installation", "python", "ok", "3.11"),
        Finding("installation", "onnxruntime", "fault", "two\nof them\x1b[31m", cure=cure, exit_code=4),
        Finding("DICOM", "JPEG", "note", "no decoder", cure=("one line",)),
        Finding("DICOM", "RLE", "note", "no decoder", cure=("one line",)),
    )
    console = Console(width=40, color_system=None, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    show_examination(Examination(findings), console)
    console.file.close()
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert all(f"  {line}" in lines for line in (*cure, "one line"))
    assert lines.count("  one line") == 1
    assert "For DICOM JPEG, DICOM RLE:" in " ".join(lines)
    assert "FAULT installation onnxruntime" in lines
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "1 fault."


@pytest.mark.parametrize("width", [10, 20, 40, 79, 99, 100, 120, 300])
def test_a_terminal_of_any_width_loses_nothing(find, width):
    _, findings = find(provider="cpu")
    console = Console(width=width, color_system=None, record=True, file=StringIO())
    show_examination(Examination(tuple(findings.values())), console)
    text = console.export_text()
    shown = "".join(text.split())
    assert "\u2026" not in shown
    for finding in findings.values():
        assert finding.name.replace(" ", "") in shown
        words = finding.summary.split()
        # Beside a heading the lines of a summary are apart; each of its words, or the pieces of a long one, is there.
        assert all(word in shown for word in words) or width < 120
        assert width >= 100 or "".join(words) in shown


def test_an_error_becomes_a_fault_with_its_problem_and_its_cure_apart():
    path = Path("some") / "bundle"
    found = Finding.of(BundleError("a; b", cure="c; d", path=path), area="bundle", name="files", cure=("other",))
    assert (found.summary, found.cure, found.exit_code, found.status) == (f"{path}: a; b", ("c; d",), 5, "fault")
    assert Finding.of(BundleError("a"), area="bundle", name="files", cure=("other",)).cure == ("other",)


def test_every_package_that_an_answer_needs_is_examined():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.match(r"[\w-]+", each)[0].lower() for each in project["dependencies"]}
    assert names == set(installation._PACKAGES.values())


@pytest.mark.parametrize(("value", "status"), [("1", "ok"), ("0", "note"), (None, "note")])
def test_telemetry_is_stated(monkeypatch, value, status):
    if value is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    else:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
    finding = installation._telemetry()
    assert (finding.status, finding.facts["off"]) == (status, status == "ok")
    assert "ORT_DISABLE_TELEMETRY=1" in finding.summary + "".join(finding.cure)


def test_the_cache_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path))
    finding = installation._cache()
    assert (finding.status, finding.facts) == ("ok", {"folder": str(tmp_path), "reason": "used"})
    assert str(tmp_path) in finding.summary
    monkeypatch.setenv("CXR_EDGE_CACHE", "")
    finding = installation._cache()
    assert (finding.status, finding.facts["folder"]) == ("note", None)
    assert "CXR_EDGE_CACHE is empty" in finding.summary


@pytest.mark.parametrize("threshold", [1e308, -1.0, 1e15])
def test_a_sealed_bundle_with_an_absurd_gate_is_not_healthy(gated_bundle, tmp_path, threshold):
    bundle = shutil.copytree(gated_bundle, tmp_path / "bundle")
    values = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    values["gate"]["threshold"] = threshold
    (bundle / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    report = examine(bundle=bundle, provider="cpu")
    assert report.exit_code == BundleError.exit_code
    assert not report.to_json()["healthy"]


def test_the_command_prints_a_table_or_json_and_exits_as_the_report_says(tiny_bundle, copy, capfd, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cxr-edge", "doctor", *map(str, arguments)])
        return (cli.run(), *capfd.readouterr())

    code, out, err = run("--bundle", tiny_bundle, "--provider", "cpu")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith("Healthy.")
    (copy / "MODEL_CARD.md").unlink()
    code, out, err = run("--bundle", copy, "--provider", "cpu", "--json")
    record = json.loads(out)
    assert (code, record["exit_code"], record["healthy"], record["schema"], err) == (5, 5, False, 1, "")
    assert {"area", "name", "status", "summary", "facts", "cure", "exit_code"} == set(record["checks"][0])


BROKEN = {
    "missing": ("sys.modules['onnxruntime'] = None", "no ONNX Runtime is installed", ()),
    "half removed": (
        "import types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')",
        "cannot be imported",
        ("onnxruntime",),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_without_a_working_onnx_runtime_doctor_reports_and_the_others_say_what_to_type(tiny_bundle, radiographs, kind):
    breaking, said, names = BROKEN[kind]
    program = f"""
import sys
{breaking}
from cxr_edge.runtime import providers
providers.installed = lambda: dict.fromkeys({names!r}, "1.0")
from cxr_edge.cli import run
sys.argv = ["cxr-edge", *sys.argv[1:]]
sys.exit(run())
"""

    def run(*arguments):
        command = [sys.executable, "-c", program, *map(str, arguments), "--bundle", tiny_bundle]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    result = run("doctor", "--json")
    checks = {f"{each['area']} {each['name']}": each for each in json.loads(result.stdout)["checks"]}
    assert result.returncode == 4
    assert said in checks["installation onnxruntime"]["summary"]
    assert checks["installation onnxruntime"]["cure"][-1] == 'python -m pip install "cxr-edge[cpu]"'
    assert checks["bundle files"]["status"] == "ok"
    assert checks["DICOM RLE"]["status"] == "ok"
    for arguments in (("predict", radiographs), ("explain", radiographs, "--out", "x"), ("verify",)):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (4, ""), arguments
        assert said in result.stderr
        assert "Traceback" not in result.stderr


def test_a_package_that_is_broken_is_named(find, monkeypatch):
    def import_module(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return sys.modules.get(name) or __import__(name)

    monkeypatch.setattr(installation, "import_module", import_module)
    report, findings = find(provider="cpu")
    assert report.exit_code == ProviderError.exit_code
    assert "libGL.so.1" in findings["installation packages"].summary
    assert findings["installation packages"].cure == ("python -m pip install --force-reinstall opencv-python-headless",)


def test_names_of_providers_agree_with_the_option():
    from typing import get_args

    from cxr_edge.commands import options

    assert get_args(options.Provider) == get_args(accelerators.Provider) == ("auto", "cpu", *ACCELERATORS)
    assert Path(network.__file__).parent.name == "doctor"
