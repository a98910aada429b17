import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cxr_edge
from cxr_edge.bundle.bundle import DEFAULT
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.results.record import to_line


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return cxr_edge.load(tiny_bundle, provider="cpu", threads=1)


def test_path_text_bytes_array_and_radiograph_are_answered_alike(model, radiographs):
    path = radiographs / "person586_bacteria_2417.png"
    radiograph = cxr_edge.read_radiograph(path)
    sources = (path, str(path), path.read_bytes(), radiograph.pixels, radiograph)
    assert len({model.predict(source).probability for source in sources}) == 1
    assert model.predict(path).label == "PNEUMONIA"


def test_the_record_of_an_answer(model, radiographs):
    path = radiographs / "cr_chest_pa_16bit.png"
    answer = model.predict(path)
    record = json.loads(to_line(answer.to_json()))
    assert record == {
        "schema": 2,
        "path": str(path),
        "status": "ok",
        "label": answer.label,
        "probability": answer.probability,
        "logodds": answer.prediction.logodds,
        "threshold": 0.5,
        "operating_point": "balanced",
        "provider": "cpu",
        "precision": "fp32",
        "warnings": [],
        "bundle": {"name": "tiny", "version": "0.0.1", "sha256": model.bundle.digest},
        "source": {"path": str(path), "format": "PNG", "width": 489, "height": 460, "bits": 16, "steps": []},
    }


def test_warnings_reach_the_answer(model):
    answer = model.predict(np.full((300, 300), 9, np.uint8))
    assert answer.warnings
    assert answer.to_json()["warnings"] == list(answer.warnings)
    assert answer.to_json()["path"] is None


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error_of_its_input_and_the_others_are_answered(model, level):
    grey = cxr_edge.read_radiograph(np.full((300, 300), 99, np.uint8))
    bad = replace(
        grey, pixels=np.full((300, 300), level, np.float32), source=replace(grey.source, path=Path("bad.dcm"))
    )
    first, error, last = model.predict_batch([grey, bad, grey])
    assert isinstance(error, cxr_edge.InputError)
    assert (error.kind, error.path) == ("not-finite", Path("bad.dcm"))
    assert "finite" in error.problem
    assert first.probability == last.probability == pytest.approx(model.predict(grey).probability)
    with pytest.raises(cxr_edge.InputError, match=r"^bad\.dcm: .* finite") as raised:
        model.predict(bad)
    assert raised.value.exit_code == 3


def test_the_input_of_the_network_is_made_once_and_handed_on(model, radiographs):
    radiograph = cxr_edge.read_radiograph(radiographs / "cr_chest_pa_16bit.png")
    prediction = model.predict(radiograph).prediction
    np.testing.assert_array_equal(prediction.input, to_input(radiograph))
    assert prediction.input.dtype == np.float32
    assert model.classifier.predict(prediction.input[None])[0].probability == prediction.probability


def test_importing_the_interface_imports_nothing_large():
    code = "import sys, cxr_edge.api; print([name for name in ('numpy', 'cv2', 'onnxruntime') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_are_the_public_ones(model, tmp_path):
    with pytest.raises(cxr_edge.InputError):
        model.predict(tmp_path / "missing.png")
    with pytest.raises(cxr_edge.BundleError):
        cxr_edge.load(tmp_path)
    with pytest.raises(cxr_edge.UsageError):
        cxr_edge.load(model.bundle.folder, operating_point="none")


def test_every_public_name_is_there():
    for name in cxr_edge.__all__:
        assert getattr(cxr_edge, name).__module__.startswith("cxr_edge.")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cxr_edge.nonsense  # noqa: B018


@pytest.mark.data
@pytest.mark.skipif(not DEFAULT.is_dir(), reason="no bundle is installed")
def test_originals_are_called_as_their_224_copies(data_folder):
    installed = cxr_edge.load(provider="cpu")
    pairs = []
    for original in sorted(data_folder.glob("originals/*/*.jpeg")):
        copy = data_folder / "kermany224" / "train" / original.parent.name / original.name
        pairs.append((installed.predict(original), installed.predict(copy)))
    assert sum(full.label == small.label for full, small in pairs) >= 79
    assert np.median([abs(full.probability - small.probability) for full, small in pairs]) <= 0.01
