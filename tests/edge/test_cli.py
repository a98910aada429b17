import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

import cxr_edge
from cxr_edge import cli
from cxr_edge.api import Model
from cxr_edge.files import MARKER

PROGRAM = [sys.executable, "-m", "cxr_edge"]


@pytest.fixture
def run(monkeypatch, capfd, tiny_bundle):
    """Run a command line in this process; give exit code, standard output and standard error."""

    def run(*arguments, bundle=tiny_bundle):
        where = ("--bundle", str(bundle)) if bundle and arguments[0] == "predict" else ()
        monkeypatch.setattr(sys, "argv", ["cxr-edge", *map(str, arguments), *where])
        return (cli.run(), *capfd.readouterr())

    return run


def test_a_table_with_one_line_for_each_radiograph(run, radiographs):
    code, out, err = run("predict", radiographs, "--provider", "cpu")
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split() == ["label", "probability", "threshold", "file"]
    assert [row.split()[-1] for row in rows] == [str(path) for path in sorted(radiographs.iterdir())]
    assert {row.split()[0] for row in rows} == {"NORMAL", "PNEUMONIA"}
    assert "Research use only" in err
    assert "tiny 0.0.1" in err
    assert "on cpu (asked for)" in err


def test_json_lines_in_input_order_with_failures_in_between(run, radiographs, tmp_path):
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    inputs = [
        radiographs / "person724_virus_1343.jpeg",
        empty,
        tmp_path / "missing.png",
        radiographs / "nih_dx_chest.dcm",
        tmp_path / "empty folder",
        Path(__file__),
    ]
    inputs[4].mkdir()
    code, out, err = run("predict", "--json", *inputs)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 3
    assert [record["path"] for record in records] == [str(path) for path in inputs]
    kinds = [record["error"]["kind"] if record["status"] == "error" else "ok" for record in records]
    assert kinds == ["ok", "empty", "not-found", "ok", "no-images", "not-an-image"]
    assert all(
        str(path) in record["error"]["message"]
        for path, record in zip(inputs, records, strict=True)
        if "error" in record
    )
    assert "4 of 6 inputs could not be answered" in err
    assert err.count("error: ") == 4


def test_an_operating_point_by_name(run, radiographs):
    code, out, _ = run("predict", "--json", radiographs, "--operating-point", "strict")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {(record["operating_point"], record["threshold"], record["label"]) for record in records} == {
        ("strict", 0.999, "NORMAL")
    }


def test_int8_and_threads(run, radiographs):
    code, out, err = run("predict", "--json", radiographs / "nih_dx_chest.dcm", "--precision", "int8", "--threads", "1")
    assert (code, json.loads(out)["precision"]) == (0, "int8")
    assert "int8 on cpu" in err
    assert "1 threads" in err


def test_warnings_are_said_and_recorded(run, tmp_path):
    import cv2
    import numpy as np

    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), np.arange(4096, dtype=np.uint16).reshape(64, 64))
    code, out, err = run("predict", "--json", path)
    assert code == 0
    assert "4095 of 65535" in json.loads(out)["warnings"][0]
    assert f"warning: {path}: " in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("predict", "x.png", "--threads", "0"),
        ("predict", "x.png", "--provider", "gpu"),
        ("predict", "x.png", "--operating-point", "nonsense"),
        ("predict", "x.png", "--precision", "fp64"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_a_missing_provider_is_4(run):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is there")
    code, out, err = run("predict", "x.png", "--provider", "cuda")
    assert (code, out) == (4, "")
    assert "cxr-edge[gpu]" in err


def test_a_changed_or_missing_bundle_is_5(run, tiny_bundle, tmp_path):
    changed = shutil.copytree(tiny_bundle, tmp_path / "changed")
    with (changed / "MODEL_CARD.md").open("a", encoding="utf-8") as file:
        file.write(" ")
    for bundle, said in ((changed, "MODEL_CARD.md"), (tmp_path / "nowhere", "no bundle here")):
        code, out, err = run("predict", "x.png", bundle=bundle)
        assert (code, out) == (5, "")
        assert said in err
        assert "Traceback" not in err


def test_names_that_are_no_text_or_hold_a_newline_print_on_one_line(run, radiographs, tmp_path):
    sample = radiographs / "person724_virus_1343.jpeg"
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff\nname\x1b[31m.jpeg"))
    shutil.copy(sample, odd)
    missing = tmp_path / "gone\n.png"
    code, out, err = run("predict", odd, missing)
    assert code == 3
    assert len(out.splitlines()) == 3
    assert r"bad\udcff\nname\x1b[31m.jpeg" in out
    assert "\x1b" not in out + err
    code, out, _ = run("predict", "--json", odd)
    assert code == 0
    assert os.fsencode(json.loads(out)["path"]) == os.fsencode(odd)
    assert out.isascii()


def test_help_and_version_import_neither_numpy_nor_onnxruntime():
    program = """
import sys
from cxr_edge.cli import run
sys.argv = ["cxr-edge", *sys.argv[1:]]
code = run()
print(sorted({"numpy", "cv2", "onnxruntime", "pydicom"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
    for arguments in (["--help"], ["--version"], ["predict", "--help"], ["bench", "--help"], []):
        result = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert result.stderr.splitlines()[-1] == "[]", arguments
        assert result.returncode == (0 if arguments else 2)


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, cxr_edge; print({'numpy', 'cv2', 'onnxruntime', 'typer'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "set()\n"
    )


def test_the_version_is_the_installed_one(run):
    code, out, _ = run("--version")
    assert (code, out) == (0, f"cxr-edge {cxr_edge.__version__}\n")
    assert cxr_edge.__version__ == version("cxr-edge")


def test_the_process_exits_as_documented(tiny_bundle, radiographs, tmp_path):
    for inputs, code in (([radiographs / "nih_dx_chest.dcm"], 0), ([tmp_path / "gone.png"], 3)):
        result = subprocess.run(
            [*PROGRAM, "predict", "--bundle", tiny_bundle, *inputs], capture_output=True, check=False
        )
        assert result.returncode == code
    result = subprocess.run([*PROGRAM, "predict", "--bundle", tmp_path, "x"], capture_output=True, check=False)
    assert result.returncode == 5


def test_a_reader_that_leaves_early_is_no_error(tiny_bundle, radiographs, tmp_path):
    for number in range(30):
        shutil.copy(radiographs / "nih_dx_chest.dcm", tmp_path / f"{number}.dcm")
    command = [*PROGRAM, "predict", "--json", "--bundle", tiny_bundle, tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["status"] == "ok"
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == -signal.SIGPIPE
    assert err == ""


QUICK_BENCH = ("--task", "predict", "--scope", "session", "--precision", "fp32", "--batch-size", "1", "--threads", "1")
PRINTING = {
    "help": ("--help",),
    "version": ("--version",),
    "schema": ("schema",),
    "predict": ("predict", "{sample}", "--bundle", "{bundle}"),
    "predict as JSON": ("predict", "--json", "{sample}", "--bundle", "{bundle}"),
    "verify": ("verify", "--bundle", "{bundle}"),
    "doctor": ("doctor", "--provider", "cpu", "--bundle", "{bundle}"),
    "doctor as JSON": ("doctor", "--provider", "cpu", "--json", "--bundle", "{bundle}"),
    "bench": ("bench", *QUICK_BENCH, "--window", "0.001", "--bundle", "{bundle}"),
    "bench as JSON": ("bench", *QUICK_BENCH, "--window", "0.001", "--json", "--bundle", "{bundle}"),
}


@pytest.fixture
def started(tiny_bundle, radiographs):
    """Start a process of the command line with its streams given; give exit code, standard output and errors."""

    def started(arguments, **streams):
        names = {"sample": radiographs / "person724_virus_1343.jpeg", "bundle": tiny_bundle}
        command = [*PROGRAM, *(each.format(**names) for each in arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        result = subprocess.run(command, check=False, text=True, **streams)
        return result.returncode, result.stdout, result.stderr

    return started


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("name", "unbuffered"), [*((name, "") for name in PRINTING), ("version", "1"), ("predict", "1")]
)
def test_a_full_disk_below_standard_output_is_3_and_one_line(started, monkeypatch, name, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("wb") as full:
        code, _, err = started(PRINTING[name], stdout=full)
    assert code == 3
    lines = [line for line in err.splitlines() if not line.startswith("Other programs are running")]
    assert len(lines) == 1
    assert lines[0].startswith("error: standard output cannot be written (No space left on device); ")


@pytest.mark.skipif(os.name != "posix", reason="closes numbered files")
@pytest.mark.parametrize("name", ["version", "predict"])
def test_a_closed_standard_output_is_3_and_one_line(started, name):
    code, out, err = started(PRINTING[name], stdout=None, preexec_fn=lambda: os.close(1))
    assert (code, out) == (3, None)
    assert len(err.splitlines()) == 1
    assert err.startswith("error: standard output cannot be written (")


@pytest.mark.skipif(os.name != "posix", reason="closes numbered files")
def test_a_scan_without_any_stream_writes_all_it_has_to(started, tmp_path):
    def close_all():
        for number in (0, 1, 2):
            os.close(number)

    out = tmp_path / "out"
    arguments = ("scan", "{sample}", "--out", str(out), "--bundle", "{bundle}")
    code, _, _ = started(arguments, stdout=None, stderr=None, preexec_fn=close_all)
    assert code == 3  # its last line could not be printed
    # Nothing that was printed got into a file that took the number of a closed stream.
    assert [json.loads(line)["status"] for line in (out / "results.jsonl").read_text("ascii").splitlines()] == ["ok"]


@pytest.mark.skipif(os.name != "posix", reason="closes numbered files")
@pytest.mark.parametrize("kind", ["full", "closed", "nobody reads"])
def test_results_do_not_depend_on_standard_error(started, kind):
    expected = started(PRINTING["predict as JSON"])
    if kind == "closed":
        result = started(PRINTING["predict as JSON"], stderr=None, preexec_fn=lambda: os.close(2))
    elif kind == "full":
        with Path("/dev/full").open("wb") as full:
            result = started(PRINTING["predict as JSON"], stderr=full)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        result = started(PRINTING["predict as JSON"], stderr=writer)
        os.close(writer)
    assert result[:2] == expected[:2]
    assert expected[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes that do not wait")
def test_a_pipe_that_does_not_wait_gets_everything(tiny_bundle, radiographs, tmp_path):
    # 200 records are more than a pipe holds, and the writer shares the reader's end-of-file flags.
    sample = radiographs.parent / "kermany" / "test" / "NORMAL" / "IM-0073-0001.jpeg"
    for number in range(200):
        shutil.copy(sample, tmp_path / f"{number}.jpeg")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [*PROGRAM, "predict", "--json", "--bundle", tiny_bundle, tmp_path]
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    time.sleep(2.5)  # until the pipe is full
    with open(reader, encoding="utf-8") as file:  # noqa: PTH123  # a number, not a path
        records = [json.loads(line) for line in file]
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), len(records)) == (0, 200)
    assert "Traceback" not in err


def test_a_connection_that_breaks_is_no_end_of_the_process():
    # Where a broken pipe ends the process, so does a peer that closes a socket: Ray's, or that of a DICOM node.
    program = """
import os, socket, sys
from cxr_edge import cli
from cxr_edge.api import Model
from cxr_edge.files import MARKER
def send():
    one, other = socket.socketpair()
    other.close()
    try:
        one.send(b"x")
    except BrokenPipeError:
        print("told")
cli.app.command(name="send")(send)
sys.argv = ["cxr-edge", "send"]
cli.main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "told\n", "")


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored


def test_an_interrupt_ends_without_a_traceback(tiny_bundle, radiographs):
    command = [*PROGRAM, "predict", "--json", "--bundle", tiny_bundle, "--files-from", "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, **pipes, preexec_fn=heed_interrupts)
    process.stdin.write(f"{radiographs / 'cr_chest_pa_16bit.png'}\n".encode())
    process.stdin.flush()
    first = process.stdout.readline()  # now it waits for the next name
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    out, err = process.communicate()
    assert b"Traceback" not in err
    assert (first + out).endswith(b"}\n")


@pytest.mark.parametrize("command", ["predict", "explain", "scan", "bench"])
def test_an_empty_path_is_a_usage_error_instead_of_the_current_folder(run, command, tmp_path):
    options = ("--out", tmp_path) if command in {"explain", "scan"} else ()
    code, out, err = run(command, "", *options, bundle=None)
    assert (code, out) == (2, "")
    assert "empty path" in err


def test_what_the_search_left_out_is_said_in_one_line(run, radiographs, tmp_path):
    sample = radiographs / "person724_virus_1343.jpeg"
    for name in ("x.jpeg", ".hidden.jpeg", "notes.txt", "results/y.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(sample, tmp_path / name) if name.endswith("jpeg") else (tmp_path / name).write_text("text")
    (tmp_path / "results" / MARKER).touch()
    code, out, err = run("predict", "--json", tmp_path, sample, sample)
    assert (code, len(out.splitlines())) == (0, 2)
    (line,) = (line for line in err.splitlines() if "Left out" in line)
    for said in ("1 hidden", "1 other files", "1 own output", "1 named again"):
        assert said in line
    assert "Left out" not in run("predict", sample)[2]


def test_its_own_pictures_are_no_radiographs(run, tiny_bundle, radiographs, tmp_path, monkeypatch):
    shutil.copy(radiographs / "person724_virus_1343.jpeg", tmp_path / "x.jpeg")
    monkeypatch.chdir(tmp_path)
    assert run("explain", ".", "--out", ".", "--method", "gradcam", "--bundle", tiny_bundle)[0] == 0
    code, out, err = run("explain", ".", "--out", ".", "--method", "gradcam", "--force", "--bundle", tiny_bundle)
    assert (code, len(out.splitlines())) == (0, 1)
    assert "own output" in err
    code, out, _ = run("predict", "--json", ".", "x/figure.png")
    assert code == 3
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "error"]


def test_what_is_no_number_is_never_an_answer(run, radiographs, tmp_path):
    dataset = pydicom.dcmread(radiographs / "nih_dx_chest.dcm")
    dataset.RescaleSlope, dataset.RescaleIntercept = "1e308", "0"
    dataset.save_as(tmp_path / "x.dcm")
    for options in ((), ("--json",)):
        code, out, err = run(
            "predict", *options, "--no-gate", tmp_path / "x.dcm", radiographs / "cr_chest_pa_16bit.png"
        )
        assert code == 3
        assert "nan" not in out.lower()
        assert "1 of 2 inputs could not be answered" in err
        assert "x.dcm" in err
        assert "error" in out


def test_whatever_one_file_raises_the_others_are_answered(run, radiographs, monkeypatch):
    predict, calls = Model.predict, []

    def fails_once(self, source):
        calls.append(source)
        if len(calls) == 1:
            raise ZeroDivisionError("name of a patient")
        return predict(self, source)

    monkeypatch.setattr(Model, "predict", fails_once)
    code, out, err = run("predict", "--json", radiographs)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 3
    assert [record["status"] for record in records] == ["error", "ok", "ok", "ok", "ok"]
    assert records[0]["error"]["kind"] == "internal"
    assert "name of a patient" not in out + err


def test_what_libraries_remark_about_a_file_stays_with_them(tiny_bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    data = bytearray(cv2.imencode(".tiff", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    entry = struct.pack("<HHII", 40000, 2, 1000, 2**31)  # text that lies nowhere, which Pillow warns about
    place = len(data)
    data += struct.pack("<H", count + 1) + data[at + 2 : at + 2 + 12 * count] + entry + bytes(4)
    data[4:8] = struct.pack("<I", place)
    (tmp_path / "a.tiff").write_bytes(data)
    command = [*PROGRAM, "predict", "--no-gate", "--bundle", tiny_bundle, tmp_path / "a.tiff"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Warning" not in done.stderr
