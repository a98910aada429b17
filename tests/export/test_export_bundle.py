"""The bundle as a whole: it opens, it answers as Keras does, it says where it came from, it is written whole or not."""

import json
import shutil

import numpy as np
import onnx
import pytest
from small import DATA, SIZE, small_network, write_run

from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.errors import UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.self_test import self_test
from cxr_export import bundle as module
from cxr_export.bundle import ParityError, changing, check_replaceable, verify, write_bundle
from cxr_export.convert import Exportable
from cxr_train.dataset import KERMANY, dataset_of


def test_a_bundle_holds_every_file_and_passes_its_own_test(bundle):
    names = {"classifier.onnx", "gradcam.onnx", "golden.npz", "split.json", "MODEL_CARD.md"}
    assert set(bundle.manifest.files) == names
    assert self_test(bundle).faults == []


def test_golden_answers_cover_both_classes_with_real_radiographs_and_noise(bundle):
    with np.load(bundle.path("golden.npz")) as golden:
        assert golden["inputs"].dtype == np.uint8
        assert len(golden["inputs"]) >= 8 + 2
        assert set(golden["target"]) == {0, 1}
        assert golden["inputs"][-1].std() > 70  # uniform noise


def test_parity_with_keras_on_radiographs_and_noise(bundle, network):
    report = verify(bundle, network, data=DATA, split="train")
    assert report.faults == []
    assert max(report.differences.values()) < 2e-5  # the processors' rounding differs: up to 1.05e-5 seen
    assert report.map_change > 0.1


def test_another_run_is_not_what_the_bundle_was_made_from(bundle, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    chosen = json.loads((run_folder / "calibration.json").read_text("utf-8"))
    chosen["calibration"]["scale"] *= 1.1
    (tmp_path / "run" / "calibration.json").write_text(json.dumps(chosen), "utf-8")
    report = verify(bundle, Exportable.open(tmp_path / "run"), data=DATA, split="test")
    assert [fault.split()[0] for fault in report.faults] == ["probability"]


def test_a_gradient_that_was_frozen_into_the_graph_is_seen(bundle_folder, network, tmp_path):
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    model = onnx.load(folder / "gradcam.onnx")
    frozen = next(node for node in model.graph.node if node.output[0] == "map")
    producer = onnx.helper.make_node("Mul", ["map/live", "map/zero"], ["map"])
    frozen.output[0] = "map/live"
    model.graph.node.append(producer)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "map/zero"))
    onnx.save(model, folder / "gradcam.onnx")
    write_manifest(folder, Bundle.open(bundle_folder).manifest.to_json())
    faults = verify(Bundle.open(folder), network, data=DATA, split="test").faults
    assert any("does not change with the input" in fault for fault in faults)
    assert any(fault.startswith("map differs") for fault in faults)


def test_the_manifest_repeats_the_run(bundle, network):
    manifest, run = bundle.manifest, network.run
    assert (manifest.input.height, manifest.input.width) == (SIZE, SIZE)
    assert (manifest.features.height, manifest.features.width, manifest.features.channels) == network.features
    assert manifest.calibration.to_json() == run.calibration["calibration"]
    assert manifest.training["command"] == run.record["command"]
    assert manifest.training["metrics"] == run.metrics
    assert {"keras", "tf2onnx", "onnx", "onnxruntime"} <= set(manifest.tools)
    assert manifest.data["licence"] == "CC BY 4.0"
    assert manifest.licence == "MIT"
    assert manifest.scope == KERMANY.scope
    assert "scope" not in manifest.data
    assert dataset_of(bundle) == KERMANY


def test_the_model_card_states_data_command_figures_and_limits(bundle, network):
    card = bundle.path("MODEL_CARD.md").read_text("utf-8")
    command = network.run.record["command"]
    for expected in (
        command,
        "seed 7",
        "Not a medical device",
        "children of 1 to 5 years",
        "CC BY 4.0",
    ):
        assert expected in card
    assert "| AUROC | 0.9000 | 0.8000 to 1.0000 |" in card
    assert "| recall |" not in card  # it was not a number
    assert "| balanced (default) | 0.5000 | 0.5000 | nothing | 0.9000, 0.8000 |" in card
    assert '"unreadable": 2' in card
    assert "PatientAge (0010,1010): 1 to 5; ViewPosition (0018,5101): AP; BodyPartExamined" in card
    assert "int8" not in card


def test_the_runtime_predicts_with_it(bundle, pixels):
    pixels = pixels[:4].astype(np.float32)
    predictions = Classifier(bundle, provider="cpu").predict(pixels)
    assert [prediction.features.shape for prediction in predictions] == [(16, 16, 12)] * 4
    expected = [1 / (1 + np.exp(-(0.7 * prediction.logodds - 0.2))) for prediction in predictions]
    np.testing.assert_allclose([prediction.probability for prediction in predictions], expected, rtol=1e-5)


def test_a_bundle_that_fails_its_own_test_is_not_written(tmp_path):
    dead = small_network()
    # A head that sees nothing gives the same empty map for every input.
    dead.get_layer("logits").set_weights([np.zeros((8, 2)), np.ones(2)])
    network = Exportable.open(write_run(tmp_path / "run", dead))
    with pytest.raises(ParityError, match="map does not change"):
        write_bundle(network, tmp_path / "out", data=DATA, split="test", dataset=KERMANY, version="0")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_existing_bundle_needs_force_and_its_folder_no_other_files(own, tmp_path):
    with pytest.raises(UsageError, match="--force"):
        check_replaceable(own.folder, force=False)
    check_replaceable(own.folder, force=True)
    check_replaceable(tmp_path / "new", force=False)
    (own.folder / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes\.txt is no part of the bundle"):
        check_replaceable(own.folder, force=True)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": "a web page"}'])
def test_what_is_no_bundle_is_not_replaced_even_with_force(tmp_path, content):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpeg").touch()
    with pytest.raises(UsageError, match="is no bundle"):
        check_replaceable(tmp_path / "photos", force=True)
    with pytest.raises(UsageError, match="is no bundle"):
        check_replaceable(tmp_path / "photos" / "cat.jpeg", force=True)
    (tmp_path / "photos" / "manifest.json").write_bytes(content)
    with pytest.raises(UsageError, match="is no bundle"):
        check_replaceable(tmp_path / "photos", force=True)


def test_a_bundle_is_replaced_whole_and_parents_are_made(network, tmp_path):
    out = tmp_path / "a" / "b"
    for version in ("1", "2"):
        choices = {"data": DATA, "split": "test", "dataset": KERMANY, "version": version, "force": True}
        made, _ = write_bundle(network, out, **choices)
        assert made.manifest.version == version
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    with pytest.raises(UsageError, match="cannot be written"):
        write_bundle(network, out / "manifest.json" / "c", **choices)


class Crash(BaseException):
    pass


@pytest.mark.parametrize("stage", ["in the block", "write_manifest", "self_test", "_flush", "_exchange"])
def test_a_crash_at_any_stage_of_a_change_leaves_the_old_bundle_and_nothing_else(own, monkeypatch, stage):
    def crash(*_arguments):
        raise Crash

    if stage != "in the block":
        monkeypatch.setattr(module, stage, crash)
    with pytest.raises(Crash), changing(own) as (folder, values):  # noqa: PT012  # what is changed comes before the crash
        (folder / "classifier.onnx").write_bytes(b"half")
        values["version"] = "9"
        if stage == "in the block":
            raise Crash
        (folder / "classifier.onnx").write_bytes(own.model("classifier.onnx"))
    assert Bundle.open(own.folder).digest == own.digest
    assert [path.name for path in own.folder.parent.iterdir()] == [own.folder.name]


def test_where_folders_cannot_change_places_in_one_step_a_failure_between_two_is_undone(own, monkeypatch, tmp_path):
    monkeypatch.setattr(module.sys, "platform", "elsewhere")
    with changing(own) as (_, values):
        values["version"] = "2"
    after = Bundle.open(own.folder)
    assert after.manifest.version == "2"
    rename = type(tmp_path).rename

    def fail_once(path, target):
        if target == own.folder.resolve() and not path.name.endswith(".old"):
            raise PermissionError("a program has a file open")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fail_once)
    with pytest.raises(PermissionError), changing(after):
        pass
    assert Bundle.open(own.folder).digest == after.digest
    assert [path.name for path in own.folder.parent.iterdir()] == [own.folder.name]


def test_a_change_that_answers_otherwise_is_not_kept(own):
    with pytest.raises(ParityError, match="logodds"), changing(own) as (folder, _):  # noqa: PT012
        model = onnx.load(folder / "classifier.onnx")
        for tensor in model.graph.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.dtype == np.float32 and value.ndim == 2:
                tensor.CopyFrom(onnx.numpy_helper.from_array(value * 2, tensor.name))
        onnx.save(model, folder / "classifier.onnx")
    assert Bundle.open(own.folder).digest == own.digest


def test_a_link_to_a_bundle_stays_a_link(own, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(own.folder, target_is_directory=True)
    with changing(Bundle.open(link)) as (_, values):
        values["version"] = "2"
    assert link.is_symlink()
    assert Bundle.open(own.folder).manifest.version == "2"
