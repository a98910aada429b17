"""Bundles of earlier schemas, as released: each opens, passes its self-test and answers as it did then."""

import json
import shutil
from pathlib import Path

import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.bundle.manifest import READABLE, SCHEMA
from cxr_edge.errors import BundleError
from cxr_edge.runtime.self_test import self_test

BUNDLES = Path(__file__).parents[2] / "data" / "bundles"
ANSWERS = {
    "schema1": {
        "person724_virus_1343.jpeg": ("NORMAL", 0.4577893, 36.14756),
        "cr_chest_pa_16bit.png": ("PNEUMONIA", 0.8935668, 64.17029),
    },
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_earlier_bundle_opens_verifies_and_answers_as_it_did(name, radiographs):
    report = self_test(Bundle.open(BUNDLES / name), provider="cpu")
    assert report.faults == []
    model = cxr_edge.load(BUNDLES / name, provider="cpu")
    for file, (label, probability, gate_score) in ANSWERS[name].items():
        answer = model.predict(radiographs / file)
        assert answer.label == label
        assert answer.probability == pytest.approx(probability, abs=1e-5)
        assert answer.gate_score == pytest.approx(gate_score, abs=1e-3)


def test_every_earlier_schema_lies_frozen():
    assert {path.name for path in BUNDLES.iterdir()} == {f"schema{number}" for number in READABLE if number != SCHEMA}
    assert ANSWERS.keys() == {path.name for path in BUNDLES.iterdir()}


def test_the_digest_of_a_released_bundle_stays():
    digest = "65e39b3b0e97740b9fc1a025980cd6a502e374ca46ad59be17f72372d4c935de"
    assert Bundle.open(BUNDLES / "schema1").digest == digest


def test_a_quick_start_of_the_first_release_is_left_aside_and_still_hashed(tmp_path):
    folder = shutil.copytree(BUNDLES / "schema1", tmp_path / "bundle")
    assert json.loads((folder / "manifest.json").read_bytes())["precisions"]["fp32"]["prepared"]
    with (folder / "classifier.prepared.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"classifier\.prepared\.onnx"):
        Bundle.open(folder)


def test_an_earlier_bundle_written_again_has_the_present_schema(tmp_path):
    folder = shutil.copytree(BUNDLES / "schema1", tmp_path / "bundle")
    write_manifest(folder, Bundle.open(folder).manifest.to_json())
    values = json.loads((folder / "manifest.json").read_bytes())
    assert values["schema"] == SCHEMA
    assert "seal" not in values
    assert Bundle.open(folder).manifest.to_json() == values
