"""Every script in benchmarks/ runs in its quick mode and prints its figures."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nodes import LACKING

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text("utf-8"))
PRINTED = {  # what only a run to the end prints, each with a figure in it
    "adapt.py": r"\| 4 \| log_loss \| \d\.\d+ \| \d\.\d+ \| [+-]\d",
    "damaged_pixels.py": r"\| all \| 50 \| \d+ \| \d+ \| 0 \|",
    "decode_speed.py": r"\| all DICOM \| \d+ \| \d+\.\d \| \d+\.\d \| \d\.\d+ \|",
    "engines.py": r"answers: local / Ray after 32 files.*\| names / local.*\| \d+\.\d\d \(",
    "exact_shapley.py": r"\| SHAP, ours \| 64 \| \d\.\d+ .*\d test radiographs, 2 seeds",
    "explanation_plots.py": r"drew EXPLANATIONS\.svg",
    "explanations.py": r"## Held to exact answers.*About 30 superpixels.*wrote .*EXPLANATIONS\.md with 5 parts",
    "faithfulness.py": r"\| LIME fast \| \d\.\d+ .*2 test radiographs",
    "gate.py": r"(All \d+ of them: \d+\.\d % \(.*)?\| adults \| 2 \|.*with the gate: \d",
    "gradcam.py": r"\| predict \+ Grad-CAM \| \d+\.\d+ ms \| \d\.\d+ \|.*LayerCAM in one run \| \d+\.\d+ ms",
    "int8.py": r"100\.0 % \(67\.6 to 100\.0\) same labels on 8 test radiographs; AUROC \d\.\d+ and \d\.\d+",
    "lime_cost.py": r"\| reference mode \| \d.*\| \d\.\de-\d+ \|.*\| fast \| growth \| [+-]\d",
    "lime_fidelity.py": r"\| fast, default \| \d+ \|.*converged on \d+ samples",
    "lime_stability.py": r"\| default \| 0\.\d+ \|.*\d test radiographs, 2 seeds",
    "lungs.py": r"outline the lungs \| \d.*\| PNEUMONIA \| 1 \| 0\.\d+",
    "node.py": r"ratio \(bar 0\.8\) \| \d\.\d\d.*none missing \| \d+ .*longest echo after one \(bar 1 s\) \| 0\.\d\d s",
    "other_images.py": r"\d photographs",
    "planted_evidence.py": r"\| marker, trained to cheat \| LayerCAM \| \d\.\d+ .*2 test radiographs without pneumonia",
    "quantus_maps.py": r"\| LayerCAM \| \d\.\de[+-]\d+ \|.*quantus \d|not measured: .*not installed",
    "process_start.py": r"cxr-edge predict one\.jpeg / import numpy.*: \d\.\d+ \(bar",
    "report_open.py": r"200 entries interactive in \d\.\d+ s",
    "roofline.py": r"\d+% of the float32 roofline",
    "scan_kills.py": r"2 kills: 80 files, one record each",
    "scan_scale.py": r"ratio \d\.\d+ \(bar.*500 files: first record after \d",
    "scan_throughput.py": r"bound / scan \| loop / scan \|.*\| \d+\.\d+ \|$",
    "session_start.py": r"\| ratio \| \d\.\d+ \(",
    "peers": r"A trial run.*\| cxr-edge \| \d+\.\d+ m?s \| 1 \|",
    "tune_choice.py": r"\| lime \| \w+ on .*tune took \d+ s .* \d+ settings",
    "tuned_labels.py": r"\| int8 on cpu \| \d+ \| 0 \| \d+ \| \d",
    "view_drop.py": r"label +median +\d+\.\d\d s .*LIME +median",
    "warning_rates.py": r"\| label stands \| \d.*with --tta \d+\.\d times",
}
ONE_THREAD = ["--threads", "1"]
OPTIONS = {
    "decode_speed.py": ["--base", str(BENCHMARKS.parent)],  # against itself
    **dict.fromkeys(
        (
            *("exact_shapley.py", "faithfulness.py", "lime_cost.py", "lime_fidelity.py", "lime_stability.py"),
            "planted_evidence.py",
        ),
        ONE_THREAD,
    ),
    "peers": [*ONE_THREAD, "--without", "lime", "start", "roofline", "install"],  # these parts are scripts of their own
}
NEEDED = {
    "adapt.py": ["onnx", "sklearn"],
    "damaged_pixels.py": ["openjpeg", "jpeg_ls"],
    "decode_speed.py": ["openjpeg", "jpeg_ls"],
    "engines.py": ["ray"],
    "exact_shapley.py": ["scipy"],
    "explanation_plots.py": ["matplotlib"],
    "explanations.py": ["onnx", "scipy", "matplotlib"],
    "faithfulness.py": ["onnx", "scipy"],
    "gradcam.py": ["onnx"],
    "int8.py": ["sklearn"],
    "lime_cost.py": ["lime"],
    "lime_fidelity.py": ["lime"],
    "lungs.py": ["sklearn"],
    "node.py": ["highdicom", "pynetdicom"],
    "other_images.py": ["skimage", "sklearn", "matplotlib"],
    "report_open.py": ["selenium"],
    "view_drop.py": ["selenium", "starlette"],
    "roofline.py": ["onnx", "threadpoolctl"],
    "session_start.py": ["tensorflow", "tf2onnx"],
    "planted_evidence.py": ["onnx", "scipy"],
    "quantus_maps.py": ["onnx", "scipy"],
    "peers": ["onnx"],
}
WITHOUT = {
    "fuzz_reading.py": "needs atheris, which no extra brings, and prints to the error stream",
    "install_size.py": "fills an environment from a package index",
}


def missing(name: str) -> str | None:
    """What a script needs and this machine lacks."""
    packages = [package for package in NEEDED.get(name, []) if find_spec(package) is None]
    if name in {"report_open.py", "view_drop.py"}:
        packages += [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
    if name == "node.py":
        packages += LACKING
    return f"needs {', '.join(packages)}" if packages else None


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in quick mode, where the full data is not there."""
    command = [sys.executable, str(BENCHMARKS / name), "--quick", *OPTIONS.get(name, []), *arguments]
    environment = {**os.environ, "CXR_EDGE_DATA": "/nowhere", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """Runs the scripts that are asked for, two at a time on a thread each: name → what it printed."""
    asked = [item.callspec.params["name"] for item in request.session.items if item.function is test_a_script_prints]
    others = str(tmp_path_factory.mktemp("others"))

    def job(name: str) -> subprocess.CompletedProcess[str]:
        if name == "gate.py" and "other_images.py" in jobs:
            jobs["other_images.py"].result()  # what it wrote is what the gate is asked about
            return run(name, "--others", others)
        return run(name, *([others] if name == "other_images.py" else []))

    jobs: dict[str, Future[subprocess.CompletedProcess[str]]] = {}
    with ThreadPoolExecutor(2) as pool:
        for name in sorted(asked, key=lambda name: name == "gate.py"):
            if missing(name) is None:
                jobs[name] = pool.submit(job, name)

        def printed(name: str) -> str:
            if name not in jobs:
                pytest.skip(missing(name))
            done = jobs[name].result()
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        yield printed


def test_every_script_is_here_with_what_it_prints():
    assert set(SCRIPTS) == {*PRINTED, *WITHOUT} - {"peers"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_a_script_prints(name, finished):
    assert re.search(PRINTED[name], finished(name), re.DOTALL), finished(name)


@pytest.mark.slow
def test_the_benchmarks_under_pytest_run():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--benchmark-disable"]
    done = subprocess.run([*command, str(BENCHMARKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1] or find_spec("skimage") is None


@pytest.fixture
def script(monkeypatch):
    """Imports a script of the benchmarks by name; forgets it and what it brings afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name.partition('.')[0]}.py").exists() or name.startswith("peers"):
            del sys.modules[name]


def test_maps_without_a_cell_in_common_correlate_as_spearman_says(script):
    faithfulness = script("faithfulness")
    cells = np.zeros((2, 7, 7), np.float32)
    cells[0, 0, :4] = cells[1, 6, :4] = 1  # four of 49 cells each, none in common
    one, other = np.kron(cells, np.ones((32, 32), np.float32))
    assert faithfulness.rank_correlation(one, other) == pytest.approx(-4 / 45)
    assert faithfulness.rank_correlation(one, one) == pytest.approx(1)
    assert np.isnan(faithfulness.rank_correlation(one, np.zeros_like(one)))


def test_what_benchmarks_say_of_shares_and_means_has_the_right_width(script):
    common = script("common")
    assert common.share(10, 10) == "100.0 % (72.2 to 100.0)"  # Wilson's interval of ten of ten
    assert common.share(0, 10) == "0.0 % (0.0 to 27.8)"
    assert common.share(0, 0) == "none"
    mean, low, high = common.mean_interval([0.0, 1.0, float("nan")] * 50)
    assert mean == 0.5
    assert (low, high) == (pytest.approx(0.4, abs=0.02), pytest.approx(0.6, abs=0.02))
