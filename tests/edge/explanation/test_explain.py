import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.api import Model, load
from cxr_edge.errors import UsageError
from cxr_edge.explanation.explainer import LimeOptions
from cxr_edge.explanation.lime.engine import DEFAULT_STABILITY, REFERENCE_SAMPLES
from cxr_edge.explanation.superpixels import DEFAULT_COUNT

PICTURES = {"figure.png", "gradcam.png", "lime-region.png", "lime-whole.png", "lime-pros-cons.png"}


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Model:
    return load(tiny_bundle, provider="cpu")


@pytest.fixture(scope="module")
def files(radiographs: Path) -> list[Path]:
    return sorted(radiographs.iterdir())[:2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cxr_edge", "explain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_writes_pictures_and_record(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    again = tmp_path / "again" / files[0].name
    again.parent.mkdir()
    again.write_bytes(files[0].read_bytes())
    done = run(*files, bad, again, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert "bad.png" in done.stderr
    assert "Research use only" in done.stderr
    folders = [tmp_path / "out" / name for name in (files[0].stem, files[1].stem, f"{files[0].stem}-2")]
    assert sorted(folders) == sorted((tmp_path / "out").iterdir())
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == PICTURES | {"explanation.json"}
        record = json.loads((folder / "explanation.json").read_text())
        assert record["explanation"]["files"] == {name: name for name in PICTURES}
        assert np.shape(record["explanation"]["saliency"]["raw"]) == (7, 7)
        assert record["explanation"]["saliency"]["normalisation"]["peak"] > 0
        lime = record["explanation"]["lime"]
        assert {"samples", "r_squared", "stability", "seed", "provider", "stopped"} <= set(lime)
        for each in lime["coefficients"]:
            assert each["interval"][0] <= each["coefficient"] <= each["interval"][1]
        assert record["bundle"]["sha256"]
    one, same = ((folder / "figure.png").read_bytes() for folder in (folders[0], folders[2]))
    assert one == same


def test_nothing_is_replaced_without_force(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    options = ("--bundle", tiny_bundle, "--out", tmp_path, "--method", "gradcam")
    assert run(files[0], *options).returncode == 0
    record = tmp_path / files[0].stem / "explanation.json"
    before = record.stat().st_mtime_ns
    refused = run(*files, *options)
    assert refused.returncode == 3
    assert "--force" in refused.stderr
    assert record.stat().st_mtime_ns == before
    assert (tmp_path / files[1].stem / "figure.png").exists()
    assert run(files[0], *options, "--force").returncode == 0
    assert record.stat().st_mtime_ns > before


def test_help_states_the_defaults_that_are_used() -> None:
    shown = " ".join(run("--help").stdout.replace("\u2502", " ").split())
    for default in (DEFAULT_STABILITY, DEFAULT_COUNT, REFERENCE_SAMPLES):
        assert str(default) in shown


@pytest.mark.parametrize(
    "options", [("--target", "TUMOUR"), ("--lime", "reference", "--budget", "1"), ("--score", "probability")]
)
def test_wrong_usage_exits_with_2(
    tiny_bundle: Path, files: list[Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = run(files[0], "--bundle", tiny_bundle, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_target_and_method(model: Model, files: list[Path]) -> None:
    both = {label: model.explain(files[0], target=label) for label in model.bundle.manifest.labels}
    predicted = model.explain(files[0], method="lime")
    assert predicted.saliency is None
    assert predicted.target == predicted.answer.label
    assert model.explain(files[0], method="gradcam").lime is None
    np.testing.assert_allclose(both["NORMAL"].lime.coefficients, -both["PNEUMONIA"].lime.coefficients)
    with pytest.raises(UsageError, match="shap"):
        model.explain(files[0], method="shap")


def test_reference_mode_by_options(model: Model, files: list[Path]) -> None:
    options = LimeOptions(mode="reference", samples=40, score="logodds", segments="grid", seed=7)
    lime = model.explain(files[0], method="lime", lime=options).lime
    assert (lime.mode, lime.score, lime.estimate.samples, lime.seed) == ("reference", "logodds", 40, 7)


def test_pictures_decode(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    assert (
        run(files[0], "--bundle", tiny_bundle, "--out", tmp_path, "--lime", "reference", "--samples", "30").returncode
        == 0
    )
    for name in PICTURES:
        assert cv2.imread(str(tmp_path / files[0].stem / name)).ndim == 3
