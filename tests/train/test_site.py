"""The acceptance test of a hospital: whose radiographs, which figures, which verdict."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from cxr_edge.errors import UsageError
from cxr_train.cli import app
from cxr_train.metrics import Estimate
from cxr_train.site import FEWEST, _verdict, find_labelled


def certain(value):
    return Estimate(value, value, value)


def figures(auroc=0.99, missed=0.01, alarms=0.05, ece=0.02):
    return {
        "auroc": certain(auroc),
        "missed": certain(missed),
        "false_alarms": certain(alarms),
        "ece_at_prevalence": {"ece": ece},
    }


ENOUGH = {"NORMAL": FEWEST, "PNEUMONIA": FEWEST}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Four radiographs of each label, as two folders and as a table."""
    folder = tmp_path_factory.mktemp("hospital")
    rng, rows = np.random.default_rng(0), ["file,label,patient"]
    for name in ("healthy", "ill"):
        (folder / name).mkdir()
        for number in range(4):
            cv2.imwrite(str(folder / name / f"{number}.png"), rng.integers(40, 220, (64, 64), np.uint8))
            rows.append(f"{name}/{number}.png,{name.upper()},{name}-{number // 2}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize(
    ("counts", "refused", "found", "verdict"),
    [
        ({**ENOUGH, "NORMAL": FEWEST - 1}, 0.0, figures(), "too few radiographs for a verdict"),
        (ENOUGH, 0.0, figures(), "fit"),
        (ENOUGH, 0.2, figures(), "not fit"),
        (ENOUGH, 1.0, {}, "not fit"),
        (ENOUGH, 0.0, figures(auroc=0.85), "not fit"),
        (ENOUGH, 0.0, figures(missed=0.06), "fit after recalibration"),
        (ENOUGH, 0.0, figures(alarms=0.2), "fit after recalibration"),
        (ENOUGH, 0.0, figures(ece=0.1), "fit after recalibration"),
    ],
)
def test_each_limit_decides_as_the_rule_says(counts, refused, found, verdict):
    said, reasons = _verdict(counts, certain(refused), found)
    assert said == verdict
    assert reasons


def test_folders_and_a_table_name_the_same_radiographs(hospital):
    folders = find_labelled(hospital, names=("healthy", "ill"))
    table = find_labelled(hospital / "table.csv", names=("healthy", "ill"))
    assert [(each.path, each.label) for each in folders] == [(each.path, each.label) for each in table]
    assert len({each.patient for each in table}) == 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("file,label\na.png,strange\n", "line 2: expected the columns file and label, the label NORMAL or PNEUMONIA"),
        ("name,label\na.png,NORMAL\n", "line 2: expected the columns file and label"),
        ("file,label\na.png,NORMAL\n", "no radiograph of the label PNEUMONIA"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_line(tmp_path, text, fault):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UsageError, match=fault):
        find_labelled(tmp_path / "table.csv")


def test_a_small_hospital_gets_its_figures_and_no_verdict(hospital, lung_bundle, tmp_path):
    arguments = ["--bundle", str(lung_bundle), "--labels", "healthy,ill", "--out", str(tmp_path / "site")]
    done = CliRunner().invoke(app, ["site", "--data", str(hospital), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "too few radiographs for a verdict"
    values = json.loads((tmp_path / "site" / "site.json").read_text())
    assert values["radiographs"] == 8
    assert values["refused"]["value"] == 0
    assert 0 <= values["figures"]["auroc"]["value"] <= 1
    page = (tmp_path / "site" / "site.html").read_text()
    assert "Too few radiographs for a verdict" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_file_that_cannot_be_read_is_counted_and_the_others_are_judged(hospital, lung_bundle, tmp_path):
    rows = (hospital / "table.csv").read_text().replace("healthy/3.png", "healthy/missing.png")
    table = tmp_path / "table.csv"
    table.write_text(rows.replace("healthy/", f"{hospital}/healthy/").replace("ill/", f"{hospital}/ill/"))
    arguments = ["--bundle", str(lung_bundle), "--labels", "healthy,ill", "--out", str(tmp_path / "site")]
    CliRunner().invoke(app, ["site", "--data", str(table), *arguments], catch_exceptions=False)
    values = json.loads((tmp_path / "site" / "site.json").read_text())
    assert sum(values["failed"].values()) == 1
    assert values["radiographs"] == 8
