"""Options from the command line, variables and the settings file, in this order; and how much is said."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from cxr_edge import cli

PROGRAM = [sys.executable, "-m", "cxr_edge"]


@pytest.fixture
def run(monkeypatch, capfd, tiny_bundle, radiographs):
    """Run `predict` or another command in this process; give exit code, standard output and standard error."""

    def run(*arguments):
        words = arguments or ("predict", "--json", radiographs / "nih_dx_chest.dcm")
        monkeypatch.setattr(sys, "argv", ["cxr-edge", *map(str, words), "--bundle", str(tiny_bundle)])
        return (cli.run(), *capfd.readouterr())

    return run


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Write the settings file."""

    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("CXR_EDGE_CONFIG", str(path))
        return path

    return write


def test_the_command_line_goes_before_variables_before_the_file_before_the_default(
    run, write, monkeypatch, radiographs
):
    def point(*arguments):
        code, out, err = run("predict", "--json", radiographs / "nih_dx_chest.dcm", *arguments)
        assert code == 0, err
        return json.loads(out)["precision"], json.loads(out)["operating_point"]

    default = point()
    write('operating-point = "strict"\n[predict]\nprecision = "int8"\n')
    assert point() == ("int8", "strict")
    monkeypatch.setenv("CXR_EDGE_PRECISION", "fp32")
    monkeypatch.setenv("CXR_EDGE_OPERATING_POINT", default[1])
    assert point() == ("fp32", default[1])
    monkeypatch.setenv("CXR_EDGE_PREDICT_PRECISION", "int8")  # what is set for one command is stronger
    assert point() == ("int8", default[1])
    assert point("--precision", "fp32", "--operating-point", "strict") == ("fp32", "strict")


def test_the_file_in_the_users_folder_is_found(run, monkeypatch, tmp_path):
    monkeypatch.delenv("CXR_EDGE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cxr-edge").mkdir()
    (tmp_path / "cxr-edge" / "cxr-edge.toml").write_text("\ufeffthreads = 1\n", encoding="utf-8")
    assert "1 threads" in run("predict", tmp_path)[2]


WRONG = {
    'provider = "gpu"\n': ["provider = gpu", "'gpu' is not one of"],
    "threads = 0\n": ["threads = 0", "range"],
    "threads = true\n": ["threads is true", "expected a text or a number"],
    "no-gate = 1\n": ["no-gate is 1", "expected true or false"],
    'precision = "fp64"\n': ["precision 'fp64'", "precision = fp64 comes from"],
    'precisoin = "fp32"\n': ["precisoin is no option of all commands", "did you mean precision?"],
    '[predcit]\nprecision = "fp32"\n': ["[predcit] is no command", "did you mean predict?"],
    "[predict]\nformats = 1\n": ["predict.formats is no option"],
    "[scan]\ninclude = 1\n": ["scan.include is 1", "a list of texts"],
    "precision = \n": ["is no TOML file"],
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_with_file_key_and_cure(run, write, text):
    path = write(text)
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert all(part in err for part in [str(path), *WRONG[text]]), err


def test_a_file_that_is_named_and_missing_is_an_error_and_none_is_none(run, monkeypatch, tmp_path):
    monkeypatch.setenv("CXR_EDGE_CONFIG", str(tmp_path / "gone.toml"))
    code, _, err = run()
    assert code == 2
    assert "gone.toml: the settings cannot be read" in err
    monkeypatch.setenv("CXR_EDGE_CONFIG", "")
    assert run()[0] == 0


def test_a_wrong_variable_is_named(run, monkeypatch):
    monkeypatch.setenv("CXR_EDGE_THREADS", "many")
    code, _, err = run()
    assert code == 2
    assert "CXR_EDGE_THREADS = many comes from the environment" in err


def test_a_wrong_option_of_the_command_line_is_not_blamed_on_a_setting(run, write, radiographs):
    path = write('precision = "fp32"\n')
    code, _, err = run("predict", radiographs, "--threads", "x")
    assert code == 2
    assert str(path) not in err


def test_help_is_there_whatever_the_settings_say(write):
    write("nonsense")
    done = subprocess.run([*PROGRAM, "predict", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_paths_are_seen_from_the_file_and_lists_stay_with_their_command(write, tiny_bundle, tmp_path, radiographs):
    (tmp_path / "bundle").symlink_to(tiny_bundle)
    shared = 'bundle = "bundle"\nthreads = 1\nprecision = "auto"\n'
    write(f'{shared}[bench]\ntask = "predict"\n[scan]\ninclude = ["*.dcm"]\n')
    command = [*PROGRAM, "predict", "--json", radiographs / "nih_dx_chest.dcm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert json.loads(done.stdout)["bundle"]["name"] == "tiny"
    quick = ["--window", "0.001", "--max-windows", "3", "--scope", "session", "--batch-size", "1", "--json"]
    done = subprocess.run([*PROGRAM, "bench", *quick], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr  # "auto" is no precision that bench could measure
    command = [*PROGRAM, "scan", radiographs, "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1 inputs"), done.stdout + done.stderr


def test_doctor_shows_where_values_come_from_and_what_is_wrong(run, write, monkeypatch):
    path = write('provider = "cpu"\n[view]\nport = 70000\n[scan]\nformats = "csv"\n')
    monkeypatch.setenv("CXR_EDGE_PREDICT_PRECISION", "int8")
    monkeypatch.setenv("CXR_EDGE_PROVIDR", "cpu")
    code, out, _ = run("doctor", "--json")
    found = {each["name"]: each for each in json.loads(out)["checks"] if each["area"] == "settings"}
    assert code == 2
    assert found["file"]["facts"] == {"path": str(path), "read": True}
    assert found["provider"]["facts"] == {"value": "cpu", "from": str(path)}
    assert found["scan.formats"]["status"] == "ok"
    assert found["CXR_EDGE_PREDICT_PRECISION"]["facts"] == {"value": "int8", "from": "the environment"}
    assert found["view.port"]["status"] == "fault"
    assert found["CXR_EDGE_PROVIDR"]["cure"] == ["did you mean CXR_EDGE_PROVIDER?"]
    write("nonsense")
    code, out, _ = run("doctor", "--json")
    assert code == 2
    assert "is no TOML file" in out


def test_quiet_leaves_errors_refusals_and_warnings_and_verbose_says_more(run, radiographs, tmp_path, monkeypatch):
    inputs = [radiographs / "nih_dx_chest.dcm", tmp_path / "gone.png"]
    usual, quiet, verbose = (run("predict", *inputs, *more) for more in ((), ("--quiet",), ("-v",)))
    assert quiet[:2] == usual[:2] == verbose[:2]
    assert [line.partition(" ")[0] for line in quiet[2].splitlines() if line.startswith("error")] == ["error:"]
    assert "Research use only" in usual[2]
    assert "Research use only" not in quiet[2]
    assert set(quiet[2].splitlines()) < set(usual[2].splitlines())
    assert set(usual[2].splitlines()) < set(verbose[2].splitlines())
    assert "predict took" in verbose[2]
    assert run("predict", *inputs, "-q", "-v")[0] == 2
    monkeypatch.setenv("CXR_EDGE_QUIET", "1")
    assert run("predict", *inputs)[2] == quiet[2]
    assert "predict took" in run("predict", *inputs, "-v")[2]  # the command line goes before the variable


def test_a_quiet_scan_says_nothing_on_standard_error(radiographs, tiny_bundle, tmp_path):
    command = [*PROGRAM, "scan", radiographs / "nih_dx_chest.dcm", "--out", tmp_path / "out", "--bundle", tiny_bundle]
    assert (tmp_path / "out").exists() is False
    done = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


COLORED = re.compile(rb"\x1b\[[0-9;]*m")


def on_terminal(*arguments, **variables):
    """Run a command whose streams are a terminal; give what it writes."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "120"} | variables
    process = subprocess.Popen([*PROGRAM, *map(str, arguments)], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: the other side was closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait() == 0, said
    return said


QUICK = ("--task", "predict", "--scope", "session", "--precision", "fp32", "--batch-size", "1", "--window", "0.001")
ON_TERMINAL = {
    "doctor": ("doctor", "--provider", "cpu"),
    "bench": ("bench", *QUICK),
    "scan": ("scan", "{sample}", "--out", "{out}"),
    "predict": ("predict", "{sample}"),
}


@pytest.mark.parametrize("name", ON_TERMINAL)
def test_no_color_is_respected_on_a_terminal(name, tiny_bundle, radiographs, tmp_path):
    def said(folder, **variables):
        names = {"sample": radiographs / "nih_dx_chest.dcm", "out": tmp_path / folder}
        words = [each.format(**names) for each in ON_TERMINAL[name]]
        return on_terminal(*words, "--bundle", tiny_bundle, **variables)

    assert COLORED.findall(said("plain", NO_COLOR="1")) == []
    if name in {"doctor", "scan"}:  # else the test above could not fail
        assert COLORED.findall(said("colored")) != []
