import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.api import Model, load
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.lungs import Evidence, LungOutline, measure_evidence
from tiny import lung_picture

MASK = lung_picture() > 128
SEEN = LungOutline(MASK, None)
UNSEEN = LungOutline(np.zeros((224, 224), bool), "what looks like lung covers 0 % of the picture")


@pytest.fixture(scope="module")
def model(lung_bundle: Path) -> Model:
    return load(lung_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def explanation(model: Model) -> Explanation:
    return model.explain(lung_picture(), lime=LimeOptions(segments="grid"))


def saliency(row: int, column: int) -> SaliencyMap:
    raw = np.zeros((7, 7), np.float32)
    raw[row, column] = 2.0
    return SaliencyMap(raw, "gradcam", "PNEUMONIA")


def test_a_map_inside_a_lung_and_one_in_the_corner() -> None:
    inside = measure_evidence(SEEN, "PNEUMONIA", saliency(3, 2), None)
    assert inside.saliency is not None
    assert inside.saliency > 0.6
    assert inside.warnings == ()
    corner = measure_evidence(SEEN, "PNEUMONIA", saliency(0, 0), None)
    assert corner.saliency is not None
    assert corner.saliency < 0.1
    assert "Only" in corner.warnings[0]
    assert "in the lungs (38 % of the picture)" in corner.warnings[0]


def test_an_empty_map_has_no_share() -> None:
    nothing = measure_evidence(SEEN, "NORMAL", SaliencyMap(np.zeros((7, 7), np.float32), "gradcam", "NORMAL"), None)
    assert nothing.to_json() == {
        "lungs_share": pytest.approx(0.375),
        "gradcam_inside": None,
        "lime_inside": None,
        "shap_inside": None,
        "doubt": None,
        "zones": [],
        "zones_of": "Grad-CAM",
    }
    assert nothing.sentence == "Nothing speaks for NORMAL."
    assert nothing.warnings == ()


def test_without_lungs_there_is_no_number() -> None:
    unseen = measure_evidence(UNSEEN, "PNEUMONIA", saliency(3, 2), None)
    assert unseen.to_json()["lungs_share"] is None
    assert unseen.to_json()["gradcam_inside"] is None
    assert unseen.sentence is None
    assert unseen.warnings == ("No lungs found: what looks like lung covers 0 % of the picture.",)


@pytest.mark.parametrize(
    ("lungs", "share", "warned"), [(0.3, 0.49, True), (0.3, 0.51, False), (0.5, 0.55, True), (0.5, 0.61, False)]
)
def test_low_is_below_half_and_near_chance(lungs: float, share: float, *, warned: bool) -> None:
    mask = np.zeros((10, 10), bool)
    mask.ravel()[: round(lungs * 100)] = True
    assert bool(Evidence("PNEUMONIA", LungOutline(mask, None), "gradcam", share, None).warnings) is warned


def test_shares_of_both_methods_are_those_of_what_is_shown(explanation: Explanation) -> None:
    evidence, lime = explanation.evidence, explanation.lime
    assert evidence is not None
    assert lime is not None
    assert explanation.saliency is not None
    mask = evidence.outline.mask
    shown = explanation.saliency.upsample(224, 224)
    assert evidence.saliency == pytest.approx(shown[mask].sum() / shown.sum())
    # by hand: every positive coefficient, times the share of its superpixel's pixels that are lung
    parts = [mask[lime.superpixels.labels == index].mean() for index in range(lime.superpixels.count)]
    positive = np.maximum(lime.coefficients, 0)
    assert evidence.lime == pytest.approx((positive * parts).sum() / positive.sum())
    record = explanation.to_json()
    assert record["explanation"]["evidence"] == evidence.to_json()
    assert record["warnings"] == list(explanation.warnings)


def test_evidence_for_the_other_label_is_no_warning(model: Model, explanation: Explanation) -> None:
    other = next(label for label in model.bundle.manifest.labels if label != explanation.target)
    low = Evidence(other, SEEN, "gradcam", 0.0, None)
    answer = explanation.answer
    assert Explanation(answer, other, explanation.saliency, None, low).warnings == answer.warnings
    assert Explanation(answer, answer.label, explanation.saliency, None, low).warnings != answer.warnings


def test_the_lungs_are_drawn_on_the_heat_map(explanation: Explanation) -> None:
    bare = Explanation(explanation.answer, explanation.target, explanation.saliency, None)
    lined = Explanation(explanation.answer, explanation.target, explanation.saliency, None, explanation.evidence)
    pictures = [dict(draw(each))["gradcam.png"] for each in (bare, lined)]
    height = min(len(picture) for picture in pictures) // 2  # the captions differ anyway
    assert (pictures[0][:height] != pictures[1][:height]).any()


def test_without_a_segmenter_all_is_as_before(tiny_bundle: Path) -> None:
    explanation = load(tiny_bundle, provider="cpu", threads=1).explain(lung_picture(), method="gradcam")
    assert explanation.evidence is None
    assert "evidence" not in explanation.to_json()["explanation"]
    assert explanation.warnings == explanation.answer.warnings
    assert {name for name, _ in draw(explanation)} == {"figure.png", "gradcam.png"}


def test_explain_states_the_share_and_scan_records_it(lung_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "lungs.png"), lung_picture(size=448))
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 99, (300, 300), np.uint8))
    common = ("--bundle", lung_bundle, "--out")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cxr_edge", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    done = run("explain", tmp_path / "lungs.png", tmp_path / "noise.png", *common, tmp_path / "out", "--method=gradcam")
    assert "% of the Grad-CAM evidence for" in done.stdout
    assert "noise.png: No lungs found" in done.stderr
    explained = [json.loads((tmp_path / "out" / name / "explanation.json").read_text()) for name in ("lungs", "noise")]
    assert [each["explanation"]["evidence"]["doubt"] is None for each in explained] == [True, False]

    run("scan", tmp_path / "lungs.png", *common, tmp_path / "scan", "--explain=gradcam", "--explain-if=all")
    (record,) = map(json.loads, (tmp_path / "scan" / "results.jsonl").read_text().splitlines())
    tested = explained[0]["explanation"].pop("hidden")  # which a scan does not pay for
    assert [each["map"] for each in tested] == ["gradcam"]
    assert {**record["explanation"], "files": 0} == {**explained[0]["explanation"], "files": 0}
    assert record["warnings"] == explained[0]["warnings"]
    header, row = (tmp_path / "scan" / "results.csv").read_text("utf-8-sig").splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=False))
    assert float(cells["gradcam_inside"]) == pytest.approx(explained[0]["explanation"]["evidence"]["gradcam_inside"])
