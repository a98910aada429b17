"""``cxr-export`` as a process: quick help, one JSON object, one message per error."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from small import DATA
from typer.testing import CliRunner

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_export.bundle import ParityError
from cxr_export.cli import app
from cxr_train.cli import app as train
from cxr_train.dataset import KERMANY, Dataset


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


def said(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_from_run_to_verified_int8_bundle_with_another_calibration(run_folder, tmp_path):
    out, chosen = tmp_path / "bundle", tmp_path / "calibration.json"
    assert said("bundle", "--run", run_folder, "--out", out)["golden"]["passed"]
    options = ["--data", str(DATA), "--bundle", str(out), "--out", str(chosen)]
    assert CliRunner().invoke(train, ["calibrate", *options], catch_exceptions=False).exit_code == 0
    assert said("calibrate", out, "--calibration", chosen)["method"] == "Platt scaling"
    manifest = Bundle.open(out).manifest
    assert manifest.calibration.chosen_on.startswith("4 radiographs of 4 held-out training patients")
    assert manifest.operating_points.default.startswith("recall-")
    assert set(manifest.training["metrics"]) == {"validation", "test"}
    assert said("quantize", out, "--data", DATA)["images"] == 8
    assert said("gate", out, "--data", DATA)["width"] == 20
    assert said("split", out, "--data", DATA) == {"seed": 7, "learned": 15, "held_out": 4}
    with pytest.raises(ParityError, match="probability differs"):  # the run has another calibration
        said("verify", out, "--run", run_folder)
    fresh = tmp_path / "fresh"
    said("bundle", "--run", run_folder, "--out", fresh)
    assert said("verify", fresh, "--run", run_folder)["passed"]
    (fresh / "gradcam.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError):
        said("verify", fresh, "--run", run_folder)


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
    path.write_text(json.dumps({**KERMANY.to_json(), "scope": KERMANY.scope.to_json(), "name": "ours"}), "utf-8")
    assert Dataset.read(path) == replace(KERMANY, name="ours")
    path.write_text(json.dumps(KERMANY.to_json()), "utf-8")
    assert Dataset.read(path) == replace(KERMANY, scope=None)
    for nonsense in ("{}", "[]", json.dumps({**KERMANY.to_json(), "scope": {"ages": [1, 5]}})):
        path.write_text(nonsense, "utf-8")
        with pytest.raises(UsageError, match="expected a JSON object with name, licence, citation"):
            Dataset.read(path)
