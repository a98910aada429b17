"""What a bundle is given after its export: it is for this bundle, it is stated, and nothing else changes."""

import json

import keras
import numpy as np
import onnx
import pytest
from small import DATA, SIZE

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.explanation.lungs import LungSegmenter, to_mask
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.self_test import self_test
from cxr_export import convert
from cxr_export.attach import LUNG_FILE, add_audit, add_lungs, add_split, recalibrate
from cxr_export.bundle import ParityError, changing
from cxr_export.convert import OPSET
from cxr_export.gate import add_gate
from cxr_export.int8 import quantize_bundle
from cxr_train.lungs import build_lung_network
from cxr_train.runs import Run, RunError, write_json
from cxr_train.split import Split


def audit_of(bundle, **changes):
    metrics = {name: {"value": 0.75, "low": 0.5, "high": 1.0} for name in ("recall", "specificity", "auroc")}
    files = {name: record.sha256 for name, record in bundle.manifest.files.items() if name.endswith(".onnx")}
    about = {"precision": "fp32", "operating_point": "balanced", "threshold": 0.5, "files": files}
    return {
        "schema": 1,
        "kind": "audit",
        "command": "cxr-train audit --data data --out audits/one",
        "date": "2020-02-02",
        "interval": "95 %, 20 bootstrap samples of patients, seed 0",
        "bundle": {**about, **changes},
        "data": {"split": "test", "images": {"NORMAL": 3, "PNEUMONIA": 4}, "patients": 6, "masked": 0},
        "discrimination": {"points": {"balanced": {"metrics": metrics}}},
        "bars": [
            {"what": "AUROC", "limit": "at least 0.975", "shown": "0.750", "value": 0.75, "met": False},
            {"what": "size", "limit": "at most 25 MB", "shown": "not measured", "value": None, "met": None},
        ],
    }


def written(path, audit):
    path.write_text(json.dumps(audit), "utf-8")
    return path


def test_the_card_and_the_manifest_quote_the_audit(own, tmp_path):
    before = own
    add_audit(before, written(tmp_path / "audit.json", audit_of(before)))
    after = Bundle.open(own.folder)
    assert after.manifest.audit["points"]["balanced"]["recall"]["value"] == 0.75
    assert after.manifest.files["classifier.onnx"] == before.manifest.files["classifier.onnx"]
    card = (own.folder / "MODEL_CARD.md").read_text("utf-8")
    assert "cxr-train audit --data data --out audits/one" in card
    assert "| AUROC | at least 0.975 | 0.750 | **missed** |" in card
    assert "| balanced | 0.7500 (0.5000 to 1.0000) | 0.7500 (0.5000 to 1.0000) |" in card
    assert "3 NORMAL, 4 PNEUMONIA, 6 patients" in card
    assert "audit them again" not in card


def test_a_network_that_changes_afterwards_makes_the_card_say_so(own, tmp_path):
    bundle = own
    add_audit(bundle, written(tmp_path / "audit.json", audit_of(bundle)))
    with changing(Bundle.open(own.folder)) as (folder, _):
        model = onnx.load(folder / "gradcam.onnx")
        model.doc_string = "changed"
        onnx.save(model, folder / "gradcam.onnx")
    card = (own.folder / "MODEL_CARD.md").read_text("utf-8")
    assert "**The networks were changed after this audit: audit them again.**" in card


@pytest.mark.parametrize("changes", [{"files": {"classifier.onnx": "0" * 64}}, {"threshold": 0.4}])
def test_an_audit_of_another_bundle_is_refused(own, tmp_path, changes):
    bundle = own
    with pytest.raises(UsageError, match="an audit of another bundle"):
        add_audit(bundle, written(tmp_path / "audit.json", audit_of(bundle, **changes)))
    assert Bundle.open(own.folder).digest == bundle.digest


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", "{}", '{"schema": 1, "kind": "scan"}', '{"schema": 1, "kind": "audit"}']
)
def test_what_is_no_audit_is_refused(own, tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="audit"):
        add_audit(Bundle.open(own.folder), path)


def write_lung_run(folder, *, size=SIZE):
    """Write the files of a finished `cxr-train lungs` around an untrained network."""
    keras.utils.set_random_seed(1)
    folder.mkdir()
    network = build_lung_network(height=size, width=size)
    network.save(folder / "model.keras")
    found = {"images": 5, "dice": {"value": 0.95, "low": 0.94, "high": 0.96}}
    record = {"arch": "lung_segmenter", "seed": 3, "command": "cxr-train lungs --data data --out runs/lungs --seed 3"}
    (folder / "run.json").write_text(json.dumps(record), "utf-8")
    (folder / "metrics.json").write_text(json.dumps({"validation": {"all": found, "NORMAL": found}}), "utf-8")
    return network


@pytest.fixture(scope="module")
def lung_run(tmp_path_factory):
    """The folder of a finished `cxr-train lungs`; not to be changed."""
    folder = tmp_path_factory.mktemp("lungs") / "run"
    write_lung_run(folder)
    return folder


def test_the_bundle_outlines_lungs_as_keras_does_with_a_small_and_lean_graph(own, lung_run):
    assert "## Lungs" not in own.path("MODEL_CARD.md").read_text("utf-8")
    report = add_lungs(own, run=lung_run)
    assert report.difference < 1e-5
    after = Bundle.open(own.folder)
    assert set(after.manifest.files) == {*own.manifest.files, LUNG_FILE}
    assert after.manifest.lungs.dice == report.dice == 0.95
    command = "cxr-train lungs --data data --out runs/lungs --seed 3"
    assert after.manifest.lungs.training["command"] == command
    card = after.path("MODEL_CARD.md").read_text("utf-8")
    assert "| NORMAL | 5 | 0.9500 | 0.9400 to 0.9600 |" in card
    assert command in card
    image = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE)).astype(np.float32)
    expected = to_mask(np.asarray(Run.open(lung_run).network(image[None], training=False))[0], SIZE, SIZE)
    np.testing.assert_array_equal(LungSegmenter(after, provider="cpu").outline(image).mask, expected)

    assert report.bytes < 2 * 2**20
    model = onnx.load_from_string(after.model(LUNG_FILE))
    operators = {node.op_type for node in model.graph.node}
    sizes = {"Shape", "Gather", "Slice", "Concat", "Cast"}  # not always folded: once on a busy machine they stayed
    assert operators - sizes <= {"Reshape", "AveragePool", "Add", "Conv", "Relu", "MaxPool", "ConvTranspose"}
    assert {opset.version for opset in model.opset_import if not opset.domain} == {OPSET}
    add_lungs(after, run=lung_run)  # replaces the one that is there
    assert set(Bundle.open(own.folder).manifest.files) == set(after.manifest.files)


def test_a_run_of_another_kind_or_size_is_refused(own, run_folder, tmp_path):
    with pytest.raises(RunError, match="holds a mobilenet"):
        add_lungs(own, run=run_folder)
    with pytest.raises(RunError, match=r"run\.json"):
        add_lungs(own, run=tmp_path)
    write_lung_run(tmp_path / "run", size=32)
    with pytest.raises(RunError, match="32, 32"):
        add_lungs(own, run=tmp_path / "run")


def test_what_differs_from_keras_is_not_written(own, lung_run, monkeypatch):
    graph, other = convert.lung_graph, build_lung_network(height=SIZE, width=SIZE)
    monkeypatch.setattr(convert, "lung_graph", lambda _: graph(other))
    with pytest.raises(ParityError, match="lungs differ"):
        add_lungs(own, run=lung_run)
    assert Bundle.open(own.folder).digest == own.digest


def test_a_calibration_that_was_chosen_for_the_bundle_is_put_into_its_graph(own, tmp_path, pixels):
    quantize_bundle(own, data=DATA)
    with changing(Bundle.open(own.folder)) as (_, values):  # as cxr-export losses does where the processor has it
        values["precisions"]["bf16"] = {"file": "classifier.onnx", "loss": {}}
    add_audit(Bundle.open(own.folder), written(tmp_path / "audit.json", audit_of(Bundle.open(own.folder))))
    before = Bundle.open(own.folder)
    chosen = tmp_path / "calibration.json"
    values = {"method": "temperature", "scale": 1.7, "bias": 0.0, "chosen_on": "4 radiographs of held-out patients"}
    points = before.manifest.to_json()["operating_points"]
    points["points"]["balanced"]["threshold"] = 0.6
    metrics = dict.fromkeys(("validation", "test"), before.manifest.training["metrics"]["validation"])
    write_json(chosen, {"bundle": before.digest, "calibration": values, "operating_points": points, "metrics": metrics})
    calibration = recalibrate(before, chosen)
    after = Bundle.open(own.folder)
    assert after.manifest.calibration == calibration != before.manifest.calibration
    assert after.manifest.calibration.to_json() == values
    assert after.manifest.operating_points.points["balanced"].threshold == 0.6
    assert set(after.manifest.training["metrics"]) == {"validation", "test"}
    assert after.manifest.audit is None
    assert set(after.manifest.precisions) == {"fp32"}
    assert set(after.manifest.files) == set(own.manifest.files)
    assert self_test(after).faults == []
    inputs = pixels.astype(np.float32)
    logodds = Classifier(before, gate=False).logodds(inputs)
    predictions = Classifier(after, gate=False).predict(inputs)
    np.testing.assert_allclose([each.logodds for each in predictions], logodds, rtol=1e-6)
    expected = 1 / (1 + np.exp(-np.float64(logodds) * calibration.scale - calibration.bias))
    np.testing.assert_allclose([each.probability for each in predictions], expected, atol=1e-6)
    assert "chosen on\n4 radiographs" in after.path("MODEL_CARD.md").read_text("utf-8")
    with pytest.raises(UsageError, match="chosen for another bundle"):
        recalibrate(after, chosen)


def test_a_bundle_of_an_earlier_export_gets_the_split_that_fits_its_record(own):
    split = Split.read(own.path("split.json"))
    with changing(own) as (folder, _):
        (folder / "split.json").unlink()
    earlier = Bundle.open(own.folder)
    assert "split.json" not in earlier.manifest.files
    assert add_split(earlier, data=DATA) == split
    after = Bundle.open(own.folder)
    assert Split.read(after.path("split.json")) == split
    assert {name: after.manifest.files[name] for name in earlier.manifest.files} == earlier.manifest.files


TESTED = {"golden.npz", "MODEL_CARD.md"}


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        (lambda bundle, _: quantize_bundle(bundle, data=DATA), {"classifier.int8.onnx", "MODEL_CARD.md"}),
        (
            lambda bundle, _: add_gate(bundle, data=DATA),
            {"classifier.onnx", "gate.onnx", "golden.npz", "MODEL_CARD.md"},
        ),
        (lambda bundle, run: add_lungs(bundle, run=run), {"lungs.onnx", "golden.npz", "MODEL_CARD.md"}),
        (lambda bundle, _: add_split(bundle, data=DATA), set()),
    ],
    ids=["quantize", "gate", "lungs", "split"],
)
def test_every_command_changes_its_own_files_only_and_the_bundle_passes(own, lung_run, command, changed):
    command(own, lung_run)
    after = Bundle.open(own.folder)
    differing = {name for name, record in after.manifest.files.items() if own.manifest.files.get(name) != record}
    assert differing == changed
    assert self_test(after).faults == []
    assert [path.name for path in own.folder.parent.iterdir()] == ["bundle"]
