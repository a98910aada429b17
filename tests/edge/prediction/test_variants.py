import json
from dataclasses import replace

import numpy as np
import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.prediction.variants import spread, variants
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.results.outcomes import Spread


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return cxr_edge.load(tiny_bundle, provider="cpu", threads=1, test_time_augmentation=True)


@pytest.fixture(scope="module")
def image(radiographs):
    return to_input(read_radiograph(radiographs / "person724_virus_1343.jpeg"))


def test_every_variant_differs_a_little_from_the_input_and_from_every_other(image):
    changed = variants(image)
    assert len(changed) == 13
    for name, other in changed.items():
        assert (other.shape, other.dtype) == (image.shape, np.float32), name
        assert other.min() >= 0, name
        assert other.max() <= 255, name
        assert np.corrcoef(other.ravel(), image.ravel())[0, 1] > 0.85, name
        assert np.abs(other - image).mean() > 0.3, name
    assert len({other.tobytes() for other in changed.values()}) == 13


def test_shifts_move_whole_pixels_and_repeat_the_border(image):
    changed = variants(image)
    np.testing.assert_allclose(changed["shift right"][:, 4:], image[:, :-4], atol=1e-3)
    np.testing.assert_allclose(changed["shift right"][:, :4], np.repeat(image[:, :1], 4, axis=1), atol=1e-3)
    np.testing.assert_allclose(changed["shift up"][:-4], image[4:], atol=1e-3)


def test_turns_and_zooms_keep_the_middle_where_it_is():
    dot = np.zeros((225, 225), np.float32)
    dot[112, 112] = 255
    for name, other in variants(dot).items():
        if name.startswith(("turn", "zoom")):
            assert np.unravel_index(other.argmax(), other.shape) == (112, 112), name


def test_black_and_white_stay_what_they_are():
    for level in (0.0, 255.0):
        for name, other in variants(np.full((40, 30), level, np.float32)).items():
            np.testing.assert_allclose(other, level, atol=1e-3, err_msg=name)


def test_the_spread_is_that_of_the_variants_answered_alone(tiny_bundle, image):
    classifier = Classifier(Bundle.open(tiny_bundle), provider="cpu")
    (prediction,) = classifier.predict(image[None])
    classifier.rule = replace(classifier.rule, threshold=0.01, certain_from=0.01)
    (prediction,) = classifier.predict(image[None])
    alone = np.array([classifier.predict(other[None])[0].probability for other in variants(image).values()])
    found = spread(classifier, image, prediction)
    assert found.transforms == 13
    np.testing.assert_allclose(
        [found.mean, found.standard_deviation, found.lowest, found.highest],
        [alone.mean(), alone.std(), alone.min(), alone.max()],
        rtol=1e-4,
    )
    assert (found.label_agreement, found.label_changed_by, found.warnings) == (1.0, (), ())
    assert spread(classifier, image, prediction) == found


def test_a_label_on_the_brink_is_named_with_what_turns_it(tiny_bundle, image):
    classifier = Classifier(Bundle.open(tiny_bundle), provider="cpu")
    (prediction,) = classifier.predict(image[None])
    classifier.rule = replace(classifier.rule, threshold=prediction.probability, certain_from=prediction.probability)
    found = spread(classifier, image, classifier.predict(image[None])[0])
    assert 0 < found.label_agreement < 1
    darker = classifier.probabilities(variants(image)["gamma 1.1"][None])[0]
    assert ("gamma 1.1" in found.label_changed_by) == (darker < prediction.probability)
    (warning,) = found.warnings
    assert warning.startswith(f"The label is not stable: {len(found.label_changed_by)} of 13 small changes")
    assert f"{found.lowest:.4f} to {found.highest:.4f}" in warning


def test_answers_carry_it_only_where_it_was_asked_for(model, tiny_bundle, radiographs):
    path = radiographs / "cr_chest_pa_16bit.png"
    plain = cxr_edge.load(tiny_bundle, provider="cpu", threads=1).predict(path)
    assert plain.spread is None
    assert "test_time_augmentation" not in plain.to_json()
    answer = model.predict(path)
    assert answer.probability == plain.probability
    record = json.loads(json.dumps(answer.to_json()))["test_time_augmentation"]
    assert record["transforms"] == 13
    assert record["probability"]["lowest"] <= record["probability"]["mean"] <= record["probability"]["highest"]
    assert set(record) == {"transforms", "probability", "label_agreement", "label_changed_by"}


def test_the_warning_reaches_the_answer(model, radiographs):
    answer = model.predict(radiographs / "cr_chest_pa_16bit.png")
    shaky = replace(answer, spread=Spread(13, 0.5, 0.1, 0.4, 0.6, ("gamma 0.9",)))
    assert shaky.warnings == shaky.spread.warnings != ()
    assert shaky.spread.label_agreement == pytest.approx(12 / 13)


def test_commands_state_the_spread(tiny_bundle, radiographs, tmp_path, monkeypatch, capfd):
    from cxr_edge import cli

    path, bad, out = radiographs / "cr_chest_pa_16bit.png", tmp_path / "bad.png", tmp_path / "scan"
    bad.write_bytes(b"")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["cxr-edge", *map(str, (*arguments, "--bundle", tiny_bundle))])
        return cli.run(), capfd.readouterr()

    code, said = run("predict", "--tta", path, bad)
    heading, answer, failure = said.out.splitlines()
    assert code == 3
    assert heading.split() == ["label", "probability", "threshold", "spread", "file"]
    low, to, high = answer.split()[3:6]
    assert (to, float(low) <= float(high)) == ("to", True)
    assert heading.index("file") == answer.index(str(path)) == failure.index(str(bad))
    code, said = run("predict", "--json", "--test-time-augmentation", path)
    expected = json.loads(said.out)["test_time_augmentation"]
    run("scan", path, "--tta", "--out", out, "--formats", "jsonl,csv", "--provider", "cpu")
    found = json.loads((out / "results.jsonl").read_text())["test_time_augmentation"]
    assert found["probability"]["mean"] == pytest.approx(expected["probability"]["mean"], rel=1e-4)
    heading, row = (line.split(",") for line in (out / "results.csv").read_text().splitlines())
    assert float(row[heading.index("label_agreement")]) == found["label_agreement"]
    run("explain", path, "--tta", "--method", "gradcam", "--out", tmp_path / "why")
    assert "test_time_augmentation" in json.loads((tmp_path / "why" / path.stem / "explanation.json").read_text())


def test_a_refused_input_has_no_spread(gated_bundle, radiographs):
    model = cxr_edge.load(gated_bundle, provider="cpu", test_time_augmentation=True)
    refused = model.predict(np.full((300, 300), 250, np.uint8))
    assert refused.refusal
    assert (refused.spread, "test_time_augmentation" in refused.to_json()) == (None, False)
    assert model.predict(radiographs / "person724_virus_1343.jpeg").spread
