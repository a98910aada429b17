"""A bundle adapted to a hospital: better on patients left out, or not made at all."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.runtime.self_test import self_test
from cxr_export import adapt as adaptation
from cxr_export.adapt import NotBetterError, Scored, adapt
from cxr_train.cli import app


def hospital(*, patients=60, shift=0.0, apart=6.0):
    """Scores of two radiographs of every patient: the healthy at -2 + shift, the ill ``apart`` above them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 2 * patients).astype(np.int32)
    logodds = np.repeat(rng.normal(0, 1, 2 * patients), 2) - 2 + shift + apart * labels
    return Scored(logodds, None, labels, tuple(str(number // 2) for number in range(4 * patients)))


@pytest.fixture
def scored(monkeypatch):
    """Has the bundle say of the hospital's radiographs what is put in here."""

    def put(own):
        monkeypatch.setattr(adaptation, "ask", lambda *_: own)

    return put


def test_a_shifted_hospital_gets_a_bundle_whose_answers_are_better_on_patients_left_out(
    bundle_folder, scored, tmp_path
):
    scored(hospital(shift=3))
    before = Bundle.open(bundle_folder)
    report = adapt(bundle=bundle_folder, data=tmp_path, out=tmp_path / "adapted")
    assert report["adapted"]["specificity"]["value"] > report["as_it_is"]["specificity"]["value"] + 0.05
    assert report["adapted"]["log_loss"] < report["as_it_is"]["log_loss"]
    assert report["log_loss_gain"]["low"] > 0
    made = Bundle.open(tmp_path / "adapted")
    assert not self_test(made).faults
    assert made.manifest.version == f"{before.manifest.version}+adapted"
    assert made.manifest.calibration != before.manifest.calibration
    assert made.manifest.training["adapted"] == json.loads(json.dumps(report))
    card = (made.folder / "MODEL_CARD.md").read_text()
    assert "Adapted to a hospital: 240 radiographs of 60 NORMAL and 60 PNEUMONIA patients" in card
    assert Bundle.open(bundle_folder).digest == before.digest
    assert [path.name for path in tmp_path.iterdir()] == ["adapted"]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (hospital(patients=29), "29 NORMAL and 29 PNEUMONIA patients; 30 of each are needed"),
        (hospital(apart=1.0), "does not tell the two apart well enough"),
    ],
)
def test_what_no_calibration_mends_is_not_made(bundle_folder, scored, tmp_path, own, reason):
    scored(own)
    with pytest.raises(NotBetterError, match=reason):
        adapt(bundle=bundle_folder, data=tmp_path, out=tmp_path / "adapted")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_serves_a_hospital_best_as_it_is_stays(bundle_folder, scored, tmp_path):
    own = hospital(apart=12.0)
    calibration = Bundle.open(bundle_folder).manifest.calibration
    ideal = (1 - 2 * (own.labels == 0)) * 60 - calibration.bias  # as sure as can be, and always right
    scored(replace(own, logodds=ideal / calibration.scale))
    with pytest.raises(NotBetterError, match="keep the bundle as it is"):
        adapt(bundle=bundle_folder, data=tmp_path, out=tmp_path / "adapted")
    assert list(tmp_path.iterdir()) == []


def test_the_command_belongs_to_training_and_refuses_a_folder_that_is_taken(bundle_folder, tmp_path):
    (tmp_path / "file").touch()
    arguments = ["adapt", "--bundle", str(bundle_folder), "--data", str(tmp_path), "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="exists and is no bundle"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
