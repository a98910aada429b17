import json
import sys

import pytest

from cxr_edge import cli

QUICK = ("--provider", "cpu", "--threads", "1", "--window", "0.001", "--max-windows", "3")


@pytest.fixture
def run(monkeypatch, capfd, tiny_bundle):
    """Run ``cxr-edge bench`` in this process; give exit code, standard output and standard error."""

    def run(*arguments, bundle=tiny_bundle, quick=QUICK):
        monkeypatch.setattr(sys, "argv", ["cxr-edge", "bench", *map(str, arguments), "--bundle", str(bundle), *quick])
        return (cli.run(), *capfd.readouterr())

    return run


@pytest.fixture
def sample(radiographs):
    return radiographs / "cr_chest_pa_16bit.png"


def test_a_table_of_every_combination(run, sample):
    code, out, _ = run(sample, "--task", "predict,gradcam", "--batch-size", "1,2")
    rows = [row for line in out.splitlines() if len(row := line.split()) > 9 and row[1] in {"session", "file"}]
    assert code == 0
    assert [tuple(row[:4]) for row in rows] == [
        ("predict", "session", "fp32", "1"),
        ("predict", "session", "fp32", "2"),
        ("predict", "session", "int8", "1"),
        ("predict", "session", "int8", "2"),
        ("predict", "file", "fp32", "1"),
        ("predict", "file", "fp32", "2"),
        ("predict", "file", "int8", "1"),
        ("predict", "file", "int8", "2"),
        ("gradcam", "session", "fp32", "1"),
        ("gradcam", "session", "int8", "1"),
        ("gradcam", "file", "fp32", "1"),
        ("gradcam", "file", "int8", "1"),
    ]
    for row in rows:
        p50, p90, p95, p99, rate, runs = map(float, row[4:10])
        assert 0 < p50 <= p90 <= p95 <= p99
        assert rate > 0
        assert runs >= 15
    assert "1 thread, on cpu (asked for)" in out
    assert "1 file (PNG 489x460)" in out


def test_threads_are_a_column_where_they_differ(run, sample, monkeypatch):
    arguments = (sample, "--task", "predict", "--scope", "session", "--precision", "fp32", "--batch-size", "1")
    monkeypatch.setattr("cxr_edge.runtime.machine.usable_cores", lambda: 2)
    code, out, _ = run(*arguments, quick=(*QUICK, "--threads", "1,2"))
    rows = [line.split()[:5] for line in out.splitlines() if line.startswith(("task ", "predict "))]
    assert code == 0
    assert rows == [
        ["task", "scope", "threads", "prec.", "batch"],
        ["predict", "session", "1", "fp32", "1"],
        ["predict", "session", "2", "fp32", "1"],
    ]


def test_json_names_machine_bundle_and_rule(run, sample, tmp_path):
    out_file = tmp_path / "now.json"
    code, out, _ = run(
        sample, "--task", "predict,start", "--scope", "session", "--precision", "fp32", "--json", "--out", out_file
    )
    record = json.loads(out)
    assert code == 0
    assert out == out_file.read_text(encoding="ascii")
    assert (record["schema"], record["kind"]) == (1, "cxr-edge bench")
    assert len(record["bundle"]["sha256"]) == 64
    assert record["environment"]["packages"]["numpy"]
    assert record["rule"]["max_windows"] == 3
    assert [(each["task"], each["scope"], each["batch_size"]) for each in record["results"]] == [
        ("predict", "session", 1),
        ("predict", "session", 8),
        ("start", "process", 1),
    ]
    start = record["results"][-1]
    assert start["runs"] == 9
    assert start["latency_ms"]["p50"] > 50  # Python alone takes that
    assert "comparison" not in record


def test_compared_with_an_earlier_run(run, sample, tmp_path):
    arguments = (sample, "--task", "predict", "--scope", "session", "--precision", "fp32", "--batch-size", "1")
    before = tmp_path / "before.json"
    assert run(*arguments, "--out", before)[0] == 0
    record = json.loads(before.read_text(encoding="ascii"))
    p50 = record["results"][0]["latency_ms"]["p50"]
    record["results"][0]["latency_ms"]["p50"] = 1e6 * p50
    before.write_text(json.dumps(record), encoding="ascii")

    code, out, _ = run(*arguments, "--compare", before)
    (row,) = (line.split() for line in out.split("Now / before")[1].splitlines() if line.startswith("predict "))
    assert code == 0
    assert row[5] == "0.00"
    assert row[-1] == "quicker"

    code, out, _ = run(*arguments, "--compare", before, "--json")
    comparison = json.loads(out)["comparison"]
    assert code == 0
    assert comparison["ratios"][0]["p50"] < 0.01
    assert comparison["ratios"][0]["verdict"] == "quicker"

    record["environment"]["processor"] = "another"
    before.write_text(json.dumps(record), encoding="ascii")
    code, out, err = run(*arguments, "--compare", before)
    assert (code, out) == (2, "")
    assert "another machine" in err
    code, out, _ = run(*arguments, "--compare", before, "--across-machines")
    assert code == 0
    assert "Another machine: another" in out


def test_nothing_to_compare_is_wrong_usage(run, sample, tmp_path):
    before = tmp_path / "before.json"
    common = (sample, "--task", "predict", "--scope", "session", "--batch-size", "1")
    assert run(*common, "--precision", "int8", "--out", before)[0] == 0
    code, out, err = run(*common, "--precision", "fp32", "--compare", before)
    assert (code, out) == (2, "")
    assert "nothing to compare" in err


def test_a_picture(run, sample, tmp_path):
    picture = tmp_path / "latency.png"
    code, out, _ = run(
        sample,
        "--task",
        "predict",
        "--scope",
        "session",
        "--precision",
        "fp32",
        "--batch-size",
        "1,2",
        "--plot",
        picture,
    )
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--task", "fly"),
        ("--task", ","),
        ("--scope", "process"),
        ("--precision", "fp64"),
        ("--batch-size", "0"),
        ("--batch-size", "one"),
        ("--batch-size", ""),
        ("--precision", ""),
        ("--provider", "gpu"),
        ("--within", "0"),
        ("--out", "no folder/x.json"),
        ("--compare", "nothing.json"),
        ("--compare", "."),
        ("--plot", "x.png", "--batch-size", "1"),
        ("--plot", "x", "--out", "./x"),
        ("--threads", "100000"),
        ("--batch-size", "100000000"),
        ("--threads", "1,100000"),
    ],
)
def test_wrong_usage_is_2_and_found_before_anything_is_measured(run, arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cxr_edge.bench.suite.measure", lambda *_, **__: pytest.fail("measured"))
    code, out, err = run(*arguments, quick=())
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_other_faults_have_their_exit_codes(run, tmp_path):
    import onnxruntime

    assert run(tmp_path / "gone.png")[0] == 3
    assert run(bundle=tmp_path)[0] == 5
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        code, _, err = run("--provider", "cpu,cuda", quick=())
        assert code == 4
        assert "CUDA was asked for" in err


def test_the_same_provider_by_two_names_is_measured_once(run, sample):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is there")
    arguments = (sample, "--task", "predict", "--scope", "session", "--precision", "fp32", "--json")
    code, out, _ = run(*arguments, quick=(*QUICK, "--provider", "auto,cpu"))
    assert code == 0
    assert [each["batch_size"] for each in json.loads(out)["results"]] == [1, 8]


def test_an_input_is_never_replaced_by_the_figures(run, tmp_path, sample):
    file = tmp_path / "radiograph.png"
    file.write_bytes(sample.read_bytes())
    for option, named in (("--out", file), ("--plot", file), ("--out", tmp_path)):
        code, out, err = run(named, "--task", "predict", "--scope", "session", option, file)
        assert (code, out) == (2, "")
        assert "is read by this command, and would be replaced" in err
    assert file.read_bytes() == sample.read_bytes()


def test_figures_that_cannot_be_written_are_printed_all_the_same(run, sample, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxr_edge.bench.report.write_atomically", full)
    arguments = (sample, "--task", "predict", "--scope", "session", "--precision", "fp32", "--json")
    code, out, err = run(*arguments, "--out", tmp_path / "now.json")
    assert code == 3
    assert len(json.loads(out)["results"]) == 2
    assert "now.json: cannot be written (No space left on device)" in err.splitlines()[-1]
