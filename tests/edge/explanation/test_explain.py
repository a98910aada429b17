import errno
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cxr_edge import cli
from cxr_edge.api import Model, load
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.explanation import DEFAULT_SUPERPIXELS, LimeOptions
from cxr_edge.explanation.figures import PICTURE_NAMES, RECORD, explanation_folder, write_explanation
from cxr_edge.explanation.lime.engine import REFERENCE_SAMPLES
from cxr_edge.explanation.lime.sampling import DEFAULT_STABILITY
from cxr_edge.files import MARKER, STAMP


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
    done = run(files[0], bad, files[1], "--bundle", tiny_bundle, "--out", tmp_path / "out", "--method", "all")
    assert done.returncode == 3, done.stderr
    assert "bad.png" in done.stderr
    assert "1 of 3 inputs could not be answered" in done.stderr
    assert "Research use only" in done.stderr
    folders = [tmp_path / "out" / file.stem for file in files]
    assert {*folders, tmp_path / "out" / MARKER} == set((tmp_path / "out").iterdir())
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {*PICTURE_NAMES, RECORD, MARKER}
        record = json.loads((folder / RECORD).read_text())
        assert record["explanation"]["files"] == {name: name for name in PICTURE_NAMES}
        assert np.shape(record["explanation"]["saliency"]["raw"]) == (7, 7)
        assert record["explanation"]["saliency"]["normalisation"]["peak"] > 0
        lime = record["explanation"]["lime"]
        assert {"samples", "r_squared", "stability", "seed", "provider", "stopped"} <= set(lime)
        shap = record["explanation"]["shap"]
        assert set(lime) - set(shap) == {"mode"}
        for each in lime["coefficients"] + shap["coefficients"]:
            assert each["interval"][0] <= each["coefficient"] <= each["interval"][1]
        assert record["bundle"]["sha256"]


def test_every_picture_decodes_and_carries_the_stamp(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    done = run(files[0], "--bundle", tiny_bundle, "--out", tmp_path / "out", "--method", "all", "--samples", "30")
    assert done.returncode == 0, done.stderr
    for name in PICTURE_NAMES:
        path = tmp_path / "out" / files[0].stem / name
        assert cv2.imread(str(path)).ndim == 3
        assert STAMP in path.read_bytes()[:256]


def test_nothing_is_replaced_without_force(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    options = ("--bundle", tiny_bundle, "--out", tmp_path, "--method", "gradcam")
    assert run(files[0], *options).returncode == 0
    record = tmp_path / files[0].stem / RECORD
    before = record.stat().st_mtime_ns
    refused = run(*files, *options)
    assert refused.returncode == 3
    assert "--force" in refused.stderr
    assert record.stat().st_mtime_ns == before
    assert (tmp_path / files[1].stem / "figure.png").exists()
    assert run(files[0], *options, "--force").returncode == 0
    assert record.stat().st_mtime_ns > before


def test_pictures_of_two_patients_never_lie_in_one_folder(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.jpeg", tmp_path / "b" / "x.jpeg"
    for path, file in zip((one, other), files, strict=True):
        path.parent.mkdir()
        path.write_bytes(file.read_bytes())
    options = ("--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert run(one, *options).returncode == 0
    assert run(other, *options, "--method", "gradcam", "--force").returncode == 0
    records = {path.parent: json.loads(path.read_text()) for path in (tmp_path / "out").glob(f"*/{RECORD}")}
    assert sorted(record["path"] for record in records.values()) == [str(one), str(other)]
    for folder, record in records.items():
        assert {path.name for path in folder.iterdir()} == {*record["explanation"]["files"], RECORD, MARKER}
    before = set((tmp_path / "out").iterdir())
    # The same input in the same place, whatever else is asked for, and nothing left of what it had before.
    assert run(other, one, *options, "--method", "gradcam", "--force").returncode == 0
    assert set((tmp_path / "out").iterdir()) == before
    assert {path.name for path in (tmp_path / "out" / "x").iterdir()} == {"figure.png", "gradcam.png", RECORD, MARKER}


@pytest.mark.parametrize("name", ["...jpeg", "..png", ".jpeg", "x" * 250 + ".png", "1.2.840.113619.2.55", "a\nb.png"])
def test_no_name_of_a_file_leads_out_of_the_folder(model: Model, radiographs: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes((radiographs / "nih_dx_chest.dcm").read_bytes())
    out = tmp_path / "deep" / "out"
    with explanation_folder(out, path) as folder:
        write_explanation(model.explain(path, method="gradcam"), folder)
    assert folder.parent == out
    assert {each.name for each in out.parent.iterdir()} == {"out"}
    assert {each.name for each in tmp_path.iterdir()} == {"in", "deep"}
    assert {each.name for each in folder.iterdir()} == {"figure.png", "gradcam.png", RECORD, MARKER}


def test_what_is_replaced_goes_whole_or_not_at_all(
    model: Model, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with explanation_folder(tmp_path, files[0]) as folder:
        write_explanation(model.explain(files[0], lime=LimeOptions(samples=16)), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    explanation = model.explain(files[0], method="gradcam")

    def full(path: Path, data: bytes, **_: object) -> None:
        if path.name == RECORD:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr("cxr_edge.explanation.figures.write_atomically", full)
        with pytest.raises(OutputError, match="No space left"), explanation_folder(tmp_path, files[0], force=True):
            write_explanation(explanation, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, MARKER}
    with explanation_folder(tmp_path, files[0], force=True):
        write_explanation(explanation, folder)
    assert {path.name for path in folder.iterdir()} == {"figure.png", "gradcam.png", RECORD, MARKER}


def test_what_somebody_else_put_there_is_never_deleted(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    options = ("--bundle", tiny_bundle, "--out", tmp_path, "--method", "gradcam", "--force")
    assert run(files[0], *options).returncode == 0
    note = tmp_path / files[0].stem / "report of the radiologist.txt"
    note.write_text("no change")
    done = run(files[0], *options)
    assert done.returncode == 3
    assert note.name in done.stderr
    assert note.read_text() == "no change"


def test_folders_are_the_users_own_unless_a_mode_is_given(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    common = (files[0], "--bundle", tiny_bundle, "--method", "gradcam", "--out")
    assert run(*common, tmp_path / "a").returncode == 0
    assert run(*common, tmp_path / "b", "--mode", "750").returncode == 0
    for out, folders, pictures in (("a", 0o700, 0o600), ("b", 0o750, 0o640)):
        made = tmp_path / out / files[0].stem
        assert {each.stat().st_mode & 0o777 for each in (made.parent, made)} == {folders}
        assert {each.stat().st_mode & 0o777 for each in made.iterdir()} == {pictures}
    assert run(*common, tmp_path / "c", "--mode", "077").returncode == 2
    assert not (tmp_path / "c").exists()


def test_nothing_is_left_of_an_input_that_is_not_explained(
    tiny_bundle: Path, files: list[Path], tmp_path: Path
) -> None:
    done = run(tmp_path / "gone.png", files[0], "--bundle", tiny_bundle, "--out", tmp_path / "out", "--method=gradcam")
    assert done.returncode == 3
    assert {path.name for path in (tmp_path / "out").iterdir()} == {files[0].stem, MARKER}


@pytest.mark.parametrize(
    "stage",
    [
        "cxr_edge.api.Model.predict",
        "cxr_edge.explanation.gradcam.GradCam.explain",
        "cxr_edge.explanation.lime.engine.Lime.explain",
        "cxr_edge.explanation.figures.draw",
        "cxr_edge.explanation.figures.to_png",
        "cxr_edge.explanation.figures.to_record",
    ],
)
def test_whatever_one_file_raises_the_others_are_explained(
    tiny_bundle: Path,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    stage: str,
) -> None:
    works, calls = pkgutil.resolve_name(stage), []

    def fails_once(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError("name of a patient")
        return works(*arguments, **options)

    monkeypatch.setattr(stage, fails_once)
    arguments = [*files, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--samples", 16]
    monkeypatch.setattr(sys, "argv", ["cxr-edge", "explain", *map(str, arguments)])
    assert cli.run() == 3
    said = capfd.readouterr().err
    assert f"error: {files[0]}: failed inside (ZeroDivisionError)" in said
    assert "1 of 2 inputs" in said
    assert "name of a patient" not in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {files[1].stem, MARKER}


def test_help_states_the_defaults_that_are_used() -> None:
    shown = " ".join(run("--help").stdout.replace("\u2502", " ").split())
    for default in (DEFAULT_STABILITY, DEFAULT_SUPERPIXELS, REFERENCE_SAMPLES):
        assert str(default) in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "TUMOUR"), "predicted, NORMAL, PNEUMONIA"),
        (("--lime", "reference", "--budget", "1"), "samples only"),
        (("--score", "probability"), "reference mode"),
        (("--seed", "-1"), "0<=x<=4294967295"),
        (("--superpixels", "0"), "1<=x<=784"),
        (("--samples", "1"), "2<=x<=100000"),
        (("--stability", "nan"), "above 0 and below 1"),
        (("--budget", "inf"), "seconds above 0"),
        (("--mode", "rwx"), "octal"),
    ],
)
def test_wrong_usage_exits_with_2_before_a_file_is_read(
    tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = run(tmp_path / "gone.png", "--bundle", tiny_bundle, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "gone.png" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [("",), ("x.png", "--out", "")])
def test_a_variable_that_is_not_set_is_no_folder(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "empty path" in done.stderr


def test_target_and_method(model: Model, files: list[Path]) -> None:
    both = {label: model.explain(files[0], target=label) for label in model.bundle.manifest.labels}
    predicted = model.explain(files[0], method="lime")
    assert predicted.saliency is None
    assert predicted.target == predicted.answer.label
    assert model.explain(files[0], method="gradcam").lime is None
    np.testing.assert_allclose(both["NORMAL"].lime.coefficients, -both["PNEUMONIA"].lime.coefficients)


@pytest.mark.parametrize("spelled", ["normal", "Normal", "NORMAL"])
def test_a_label_is_found_in_any_case(model: Model, files: list[Path], spelled: str) -> None:
    assert model.explain(files[0], method="gradcam", target=spelled).target == "NORMAL"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "rise"}, "method 'rise'; expected one of gradcam, lime, both, shap, all"),
        ({"cam": "scorecam"}, "map 'scorecam'; expected one of gradcam, hirescam, gradcam++"),
        ({"target": "TUMOUR"}, "target 'TUMOUR'; expected one of predicted, NORMAL, PNEUMONIA"),
    ],
)
def test_what_cannot_be_asked_is_said_before_the_source_is_read(model: Model, options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        model.explain("gone.png", **options)


def test_reference_mode_by_options(model: Model, files: list[Path]) -> None:
    options = LimeOptions(mode="reference", samples=40, score="logodds", segments="grid", seed=7)
    lime = model.explain(files[0], method="lime", lime=options).lime
    assert (lime.mode, lime.score, lime.estimate.samples, lime.seed) == ("reference", "logodds", 40, 7)
