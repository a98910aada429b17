"""The gate: one more output that changes no other, a distance as by definition, a bundle that refuses."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from small import DATA, SIZE

import cxr_edge
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.runtime.sessions import open_session
from cxr_export.edits import ConversionError, answer, describing_tensors, with_descriptor
from cxr_export.gate import Distance, add_gate
from cxr_export.int8 import quantize, quantize_bundle
from cxr_train.dataset import find_samples, noise
from cxr_train.split import Split

OUTPUTS = ["logodds", "probability", "features"]


@pytest.fixture(scope="module")
def fp32(bundle):
    return bundle.model("classifier.onnx")


@pytest.fixture(scope="module")
def gated(fp32):
    return with_descriptor(fp32, describing_tensors(fp32))


def outputs(model, pixels):
    return answer(model, pixels, OUTPUTS)


def descriptors(model, pixels):
    return answer(model, pixels, ["descriptor"])[0]


def loaded_operators(model, folder):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "loaded.onnx").graph.node)


def test_the_descriptor_holds_channel_means_and_the_other_outputs_stay(fp32, gated, pixels):
    assert len(describing_tensors(fp32)) == 2  # the depthwise one is passed over
    found = descriptors(gated, pixels)
    assert found.shape == (len(pixels), 8 + 12)
    before, after = outputs(fp32, pixels), outputs(gated, pixels)
    np.testing.assert_allclose(found[:, 8:], before[2].mean((1, 2)), rtol=1e-4, atol=1e-6)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_second_time_replaces_the_first(fp32, gated):
    assert describing_tensors(gated) == describing_tensors(fp32)
    assert with_descriptor(gated, describing_tensors(gated)) == gated


def test_int8_keeps_its_integers_whichever_came_first(fp32, gated, pixels, tmp_path):
    int8, _ = quantize(fp32, pixels)
    integer = loaded_operators(int8, tmp_path)["QLinearConv"]
    expected = descriptors(gated, pixels)
    for model in (with_descriptor(int8, describing_tensors(fp32)), quantize(gated, pixels)[0]):
        assert loaded_operators(model, tmp_path)["QLinearConv"] == integer == 3
        np.testing.assert_allclose(outputs(model, pixels)[0], outputs(int8, pixels)[0], atol=1e-5)
        assert np.abs(descriptors(model, pixels) - expected).mean() < 0.1 * expected.std()


def test_a_graph_without_the_feature_map_is_an_error(fp32):
    with pytest.raises(ConversionError, match="no feature map"):
        with_descriptor(fp32, ["nothing of that name"])


def test_the_score_is_the_distance_of_its_definition():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(12, 12))
    radiographs = (rng.normal(size=(400, 12)) @ mix + 5).astype(np.float32)
    radiographs[:, 3] = 0.25  # a channel that is silent on radiographs
    distance = Distance.of(radiographs)
    assert distance.directions.shape == (12, 6)
    others = np.concatenate([radiographs[:5], radiographs[:5] + 40]).astype(np.float32)

    standard = (others - distance.mean) / distance.scale
    learned = (radiographs - distance.mean) / distance.scale
    values, vectors = np.linalg.eigh(learned.T @ learned / len(learned))
    values[:-6] = values[:-6].mean()
    expected = np.sqrt(((standard @ vectors) ** 2 / values).mean(1))
    gate = open_session(distance.graph().SerializeToString(), provider="cpu", threads=1)
    (found,) = gate.run({"descriptor": others}, ["score"])
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    (near,) = gate.run({"descriptor": radiographs}, ["score"])
    assert np.mean(near**2) == pytest.approx(1, abs=0.15)
    assert found[5:].min() > near.max()


def test_a_number_that_is_none_stays_one():
    distance = Distance.of(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    gate = open_session(distance.graph().SerializeToString(), provider="cpu", threads=1)
    assert np.isnan(gate.run({"descriptor": np.full((1, 6), np.nan, np.float32)}, ["score"])[0]).all()


def test_the_bundle_gets_the_file_the_threshold_and_a_new_seal(own):
    quantize_bundle(own, data=DATA)
    report = add_gate(Bundle.open(own.folder), data=DATA)
    after = Bundle.open(own.folder)
    assert after.digest != own.digest
    assert after.manifest.gate.threshold == report.threshold > 0
    assert set(report.refused) == {"fp32", "int8"}
    card = after.path("MODEL_CARD.md").read_text("utf-8")
    assert "## What is refused" in card
    assert f"{report.threshold:.4f}" in card
    assert "images that are no chest radiograph" not in card

    add_gate(after, data=DATA)
    assert Bundle.open(own.folder).digest == after.digest
    quantize_bundle(after, data=DATA)  # from the classifier that has the output already
    for precision in ("fp32", "int8"):
        model = cxr_edge.load(own.folder, provider="cpu", precision=precision)
        strange = model.predict(noise(1, size=(SIZE, SIZE))[0].astype(np.uint8))
        assert strange.refusal
        assert model.predict(next((DATA / "train" / "NORMAL").glob("*.jpeg"))).gate_score < strange.gate_score


def test_the_threshold_is_chosen_on_the_patients_that_the_classifier_held_out(own, monkeypatch):
    samples = find_samples(DATA, ["train"])
    sides = Split.read(own.path("split.json")).sides(samples)
    learned = []
    of = Distance.of
    monkeypatch.setattr(Distance, "of", lambda descriptors: learned.append(len(descriptors)) or of(descriptors))
    report = add_gate(own, data=DATA)
    assert (report.learned_from, report.held_out) == (len(sides.learned), len(sides.held_out))
    assert learned == [2 * len(sides.learned)]
    assert len(sides.learned) + len(sides.held_out) == len(samples)


def test_another_hospitals_radiographs_are_split_by_patient(own, tmp_path):
    data = tmp_path / "ours"
    for label in ("NORMAL", "PNEUMONIA"):
        (data / "train" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((DATA / "train" / label).iterdir())):
            name = f"NORMAL2-IM-9{number // 2:03}-0001{'-0002' * (number % 2)}.jpeg"
            (data / "train" / label / name).write_bytes(path.read_bytes() + label.encode())
    report = add_gate(own, data=data)
    # 4 patients with 2 radiographs of each label, one of them held out in each label's family
    assert (report.learned_from + report.held_out, report.held_out % 4) == (16, 0)
    assert report.held_out > 0


def test_a_folder_with_one_patient_is_refused(own, tmp_path):
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "train" / label).mkdir(parents=True)
        source = min((DATA / "train" / label).iterdir())
        (tmp_path / "train" / label / f"person9999_virus_{label}.jpeg").write_bytes(source.read_bytes())
    with pytest.raises(UsageError, match="at least 2"):
        add_gate(own, data=tmp_path)
    assert Bundle.open(own.folder).digest == own.digest
