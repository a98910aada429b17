import json
import math
import shutil

import cv2
import numpy as np
import onnx
import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.bundle.manifest import GateSpec, ScopeDetector
from cxr_edge.results.outcomes import Refusal, refuse
from cxr_edge.results.record import read_record, to_line
from cxr_edge.runtime.self_test import self_test
from tiny import GATE_THRESHOLD, SCOPE_THRESHOLD, write_tiny_bundle

NEARLY_WHITE = np.full((300, 300), 250, np.uint8)
BLACK = np.zeros((300, 300), np.uint8)


@pytest.fixture(scope="module")
def scoped_bundle(tmp_path_factory):
    """A bundle whose gate takes what is brighter than a level for radiographs of elsewhere."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "scoped", gate=True, scope=True)


@pytest.fixture(scope="module")
def model(gated_bundle):
    return cxr_edge.load(gated_bundle, provider="cpu", threads=1)


@pytest.mark.parametrize(("score", "refused"), [(0.0, False), (1.0, False), (1.001, True), (math.nan, True)])
def test_refused_above_the_threshold_and_where_there_is_no_number(score, refused):
    refusal = refuse(GateSpec(file="", threshold=1.0, method="", chosen_on=""), score, None)
    assert (refusal is not None) == refused
    if refusal:
        assert refusal.threshold == 1.0
        assert ("number" in refusal.reason) == math.isnan(score)
        assert "answered up to 1" in str(refusal)


@pytest.mark.parametrize(
    ("distance", "elsewhere", "scope"),
    [
        (0.5, -2.0, None),
        (0.5, 0.25, None),
        (0.5, 0.26, "outside"),
        (0.5, math.nan, "outside"),
        (2.0, -2.0, "no chest radiograph"),
        (2.0, 9.0, "no chest radiograph"),
        (0.5, None, None),
    ],
)
def test_what_comes_from_elsewhere_gets_no_label(distance, elsewhere, scope):
    detector = ScopeDetector(threshold=0.25, method="", chosen_on="")
    spec = GateSpec(file="", threshold=1.0, method="", chosen_on="", scope=detector)
    refusal = refuse(spec, distance, elsewhere)
    assert (refusal and refusal.scope) == scope
    if scope == "outside":
        assert refusal.threshold == 0.25
        assert ("number" in refusal.reason) == math.isnan(elsewhere)


def test_the_record_says_whose_radiograph_it_is(scoped_bundle):
    model = cxr_edge.load(scoped_bundle, provider="cpu", threads=1)
    inside, outside, none = (model.predict(np.full((300, 300), grey, np.uint8)) for grey in (99, 190, 250))
    records = [read_record(to_line(answer.to_json())).gate for answer in (inside, outside, none)]
    assert [record.scope for record in records] == ["in scope", "outside", "no chest radiograph"]
    assert [record.refused for record in records] == [False, True, True]
    assert records[1].scope_score == pytest.approx(190 - SCOPE_THRESHOLD)
    assert records[1].scope_threshold == 0
    assert records[1].reason != records[2].reason
    assert outside.to_json()["label"] is None
    loose = cxr_edge.load(scoped_bundle, provider="cpu", threads=1, gate=False)
    assert loose.predict(np.full((300, 300), 190, np.uint8)).refusal is None


def test_the_self_test_covers_the_scope(scoped_bundle):
    assert "scope_score" in self_test(Bundle.open(scoped_bundle)).differences


def test_a_radiograph_passes_with_its_score_in_the_record(model, radiographs):
    answer = model.predict(radiographs / "person724_virus_1343.jpeg")
    record = json.loads(to_line(answer.to_json()))
    assert answer.refusal is None
    assert record["status"] == "ok"
    assert record["label"] == answer.label
    assert record["gate"] == {
        "score": answer.gate_score,
        "threshold": GATE_THRESHOLD,
        "refused": False,
        "reason": None,
    }


def test_a_refused_record_has_no_answer_in_it(model):
    answer = model.predict(NEARLY_WHITE)
    record = json.loads(to_line(answer.to_json()))
    assert answer.refusal == Refusal(pytest.approx(122), GATE_THRESHOLD, record["gate"]["reason"])
    assert record["status"] == "refused"
    assert (record["label"], record["probability"], record["logodds"]) == (None, None, None)
    assert record["gate"]["refused"]
    assert record["gate"]["score"] == pytest.approx(122)
    assert record["gate"]["threshold"] == GATE_THRESHOLD
    assert set(record) == set(model.predict(np.full((300, 300), 99, np.uint8)).to_json())
    assert 0 <= answer.probability <= 1  # who looks for it in Python finds it


def test_no_score_is_a_refusal(model):
    answer = model.predict(BLACK)
    assert math.isnan(answer.gate_score)
    assert answer.refusal
    record = json.loads(to_line(answer.to_json()))
    assert record["status"] == "refused"
    assert record["gate"]["score"] is None


def test_every_row_of_a_batch_is_judged_by_itself(model):
    grey = np.full((300, 300), 120, np.uint8)
    answers = model.predict_batch([cxr_edge.read_radiograph(each) for each in (grey, NEARLY_WHITE, BLACK, grey)])
    assert [answer.refusal is None for answer in answers] == [True, False, False, True]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_switched_off_it_answers_as_a_bundle_without_one(gated_bundle, tiny_bundle, precision):
    off = cxr_edge.load(gated_bundle, provider="cpu", precision=precision, gate=False).predict(NEARLY_WHITE)
    without = cxr_edge.load(tiny_bundle, provider="cpu", precision=precision).predict(NEARLY_WHITE)
    for answer in (off, without):
        assert (answer.gate_score, answer.refusal) == (None, None)
        assert "gate" not in answer.to_json()
        assert answer.to_json()["status"] == "ok"
    assert off.probability == without.probability


def test_the_descriptor_is_handed_on_where_there_is_a_gate(model, tiny_bundle):
    grey = np.full((300, 300), 120, np.uint8)
    descriptor = model.predict(grey).prediction.descriptor
    assert descriptor.shape == (1,)
    assert descriptor[0] == pytest.approx(120)
    assert cxr_edge.load(tiny_bundle, provider="cpu").predict(grey).prediction.descriptor is None


def test_a_refused_input_is_not_explained(model, gated_bundle):
    with pytest.raises(cxr_edge.InputError, match="gate=False") as raised:
        model.explain(NEARLY_WHITE, method="gradcam")
    assert raised.value.kind == "refused"
    assert cxr_edge.load(gated_bundle, provider="cpu", gate=False).explain(NEARLY_WHITE, method="gradcam").saliency


def test_a_network_that_gives_no_descriptor_is_a_broken_bundle(gated_bundle, tmp_path):
    folder = shutil.copytree(gated_bundle, tmp_path / "bundle")
    network = onnx.load(folder / "classifier.int8.onnx")
    network.graph.output.pop()
    onnx.save(network, folder / "classifier.int8.onnx")
    values = Bundle.open(gated_bundle).manifest.to_json()
    values.pop("files")
    write_manifest(folder, values)
    assert cxr_edge.load(folder, provider="cpu").predict(NEARLY_WHITE).refusal
    with pytest.raises(cxr_edge.BundleError, match="int8 network gives the gate no descriptor"):
        cxr_edge.load(folder, provider="cpu", precision="int8")
    assert cxr_edge.load(folder, provider="cpu", precision="int8", gate=False).predict(NEARLY_WHITE).refusal is None


@pytest.fixture
def pictures(tmp_path, radiographs):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(radiographs / "person724_virus_1343.jpeg", folder / "chest.jpeg")
    cv2.imwrite(str(folder / "white.png"), NEARLY_WHITE)
    return folder


@pytest.fixture
def run(monkeypatch, capfd, gated_bundle):
    from cxr_edge import cli

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["cxr-edge", *map(str, arguments), "--bundle", str(gated_bundle)])
        return (cli.run(), *capfd.readouterr())

    return run


def test_predict_refuses_aloud(run, pictures):
    code, out, err = run("predict", pictures)
    assert code == 3
    assert [line.split()[0] for line in out.splitlines()] == ["label", "NORMAL", "refused"]
    assert f"refused: {pictures / 'white.png'}: " in err
    assert "1 of 2 inputs were refused" in err

    code, out, _ = run("predict", "--json", pictures)
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "refused"]
    assert code == 3

    code, out, err = run("predict", "--json", "--no-gate", pictures)
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "ok"]
    assert (code, "refused" in err) == (0, False)


def test_explain_draws_nothing_of_what_is_refused(run, pictures, tmp_path):
    out = tmp_path / "explained"
    code, _, err = run("explain", pictures, "--method", "gradcam", "--out", out)
    assert code == 3
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["chest"]
    assert "refused" in err
    code, *_ = run("explain", pictures / "white.png", "--method", "gradcam", "--out", out, "--no-gate")
    assert code == 0
    assert (out / "white" / "figure.png").exists()


def test_scan_records_refusals_once_and_reports_them(run, pictures, tmp_path):
    out = tmp_path / "out"
    arguments = ("scan", pictures, "--out", out, "--explain", "gradcam", "--explain-if", "all")
    code, said, _ = run(*arguments)
    assert code == 3
    assert "2 inputs: 1 NORMAL, 1 refused, 0 errors" in said
    journal = (out / "results.jsonl").read_bytes()
    records = {json.loads(line)["path"]: json.loads(line) for line in journal.splitlines()}
    record = records[str(pictures / "white.png")]
    assert record["status"] == "refused"
    assert "explanation" not in record
    assert (out / "assets" / record["sha256"][:2] / record["sha256"] / "thumbnail.jpg").exists()
    table = (out / "results.csv").read_text("utf-8-sig")
    assert "refused" in table
    assert "gate_score" in table
    assert "no chest radiograph" in (out / "report.html").read_text("utf-8")

    code, said, _ = run(*arguments)  # goes on, has nothing to do, and says the same
    assert code == 3
    assert "1 refused, 0 errors; 2 were answered before" in said
    assert (out / "results.jsonl").read_bytes() == journal

    code, _, err = run(*arguments, "--no-gate")
    assert code == 2
    assert "gate was True, now False" in err

    shutil.copy(pictures / "white.png", pictures / "copy.png")  # the same content under another name
    code, said, _ = run(*arguments)
    assert "3 inputs: 1 NORMAL, 2 refused" in said
    *_, last = (out / "results.jsonl").read_text().splitlines()
    assert json.loads(last)["path"] == json.loads(last)["source"]["path"] == str(pictures / "copy.png")
