"""``cxr-export`` as a process: quick help, one JSON object, one message per error."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from small import DATA, SIZE

from cxr_edge.errors import UsageError
from cxr_export.dataset import KERMANY, Dataset
from cxr_export.radiographs import read_split


def _cxr_export(*arguments):
    command = [sys.executable, "-c", "from cxr_export.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from cxr_export.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'numpy', 'onnx', 'onnxruntime', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"quantize", "gate"} <= set(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_from_run_to_verified_int8_bundle(run_folder, tmp_path):
    out = tmp_path / "bundle"
    made = _cxr_export("bundle", "--run", run_folder, "--out", out)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["golden"]["passed"]
    assert json.loads(_cxr_export("quantize", out, "--data", DATA).stdout)["images"] == 8
    verified = _cxr_export("verify", out, "--run", run_folder)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["passed"]
    (out / "gradcam.onnx").write_bytes(b"changed")
    assert _cxr_export("verify", out, "--run", run_folder).returncode == 5


def test_an_error_is_one_line_with_its_exit_code(tmp_path, run_folder):
    done = _cxr_export("bundle", "--run", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("cxr-export: ")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    refused = _cxr_export("bundle", "--run", run_folder, "--out", tmp_path / "full")
    assert refused.returncode == 2
    assert "is no bundle" in refused.stderr


def test_a_data_set_of_ones_own_is_read_from_json(tmp_path):
    path = tmp_path / "about.json"
    path.write_text(json.dumps({**asdict(KERMANY), "name": "ours"}), "utf-8")
    assert Dataset.read(path) == replace(KERMANY, name="ours")
    path.write_text(json.dumps(KERMANY.to_json()), "utf-8")
    assert Dataset.read(path) == replace(KERMANY, scope=None)
    for nonsense in ("{}", "[]", json.dumps({**KERMANY.to_json(), "scope": {"ages": [1, 5]}})):
        path.write_text(nonsense, "utf-8")
        with pytest.raises(UsageError, match="expected a JSON object with name, licence, citation"):
            Dataset.read(path)


def test_a_split_is_read_evenly_from_both_labels():
    some = read_split(DATA, "train", size=(SIZE, SIZE), count=6)
    assert some.pixels.shape == (6, SIZE, SIZE)
    assert some.pixels.dtype == np.float32
    assert some.labels.tolist() == [0, 0, 0, 1, 1, 1]
    everything = read_split(DATA, "train", size=(SIZE, SIZE), count=1000)
    assert len(everything.labels) == len(read_split(DATA, "train", size=(SIZE, SIZE)).labels)


def test_unreadable_files_are_counted_and_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "test" / "NORMAL").mkdir(parents=True)
    with pytest.raises(UsageError, match="Kaggle folder"):
        read_split(tmp_path, "test", size=(SIZE, SIZE))
    (tmp_path / "test" / "NORMAL" / "bad.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="none of 1 files"):
        read_split(tmp_path, "test", size=(SIZE, SIZE))
    good = next((DATA / "test" / "NORMAL").iterdir())
    (tmp_path / "test" / "NORMAL" / good.name).write_bytes(good.read_bytes())
    found = read_split(tmp_path, "test", size=(SIZE, SIZE))
    assert (len(found.pixels), found.unreadable) == (1, 1)
