import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.runtime.sessions import open_session
from tiny import TinyNetwork


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def golden(bundle):
    return np.load(bundle.path("golden.npz"))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_predictions_are_what_the_network_computes(bundle, golden, precision):
    predictions = Classifier(bundle, provider="cpu", precision=precision).predict(golden["inputs"])
    np.testing.assert_allclose([p.logodds for p in predictions], golden["logodds"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([p.probability for p in predictions], golden["probability"], rtol=1e-4)
    np.testing.assert_allclose(np.stack([p.features for p in predictions]), golden["features"], rtol=1e-3, atol=1e-4)
    assert {p.label for p in predictions} == {"NORMAL", "PNEUMONIA"}
    assert all((p.label == "PNEUMONIA") == (p.probability >= 0.5) for p in predictions)
    assert {p.precision for p in predictions} == {precision}


def test_logodds_alone_are_those_of_the_predictions(bundle, golden):
    classifier = Classifier(bundle, provider="cpu")
    logodds = classifier.logodds(golden["inputs"])
    assert logodds.dtype == np.float32
    np.testing.assert_allclose(logodds, [p.logodds for p in classifier.predict(golden["inputs"])], rtol=1e-5)


def test_a_stricter_operating_point_changes_the_label_only(bundle, golden):
    default = Classifier(bundle, provider="cpu").predict(golden["inputs"])
    strict = Classifier(bundle, provider="cpu", operating_point="strict").predict(golden["inputs"])
    assert [p.probability for p in default] == [p.probability for p in strict]
    assert {p.label for p in strict} == {"NORMAL"}
    assert {(p.operating_point, p.threshold) for p in strict} == {("strict", 0.999)}


def test_unknown_names_are_answered_with_the_known_ones(bundle):
    with pytest.raises(UsageError, match="fp32, int8"):
        Classifier(bundle, precision="fp16")
    with pytest.raises(UsageError, match="balanced, strict"):
        Classifier(bundle, operating_point="lenient")


def test_the_record_leaves_the_features_out(bundle, golden):
    record = Classifier(bundle, provider="cpu").predict(golden["inputs"][:1])[0].to_json()
    assert set(record) == {
        "label", "probability", "logodds", "threshold", "operating_point", "provider", "precision"
    }  # fmt: skip


def test_gradcam_graph_gives_the_gradient_and_follows_the_input(bundle, golden, radiographs):
    session = open_session(bundle.model("gradcam.onnx"), provider="cpu", threads=1)
    names = ["gradients", "map"]
    gradients, cam = session.run({"features": golden["features"], "target": golden["target"]}, names)
    np.testing.assert_allclose(gradients, golden["gradients"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(cam, golden["map"], rtol=1e-4, atol=1e-6)

    network = TinyNetwork()
    image = to_input(read_radiograph(radiographs / "person724_virus_1343.jpeg"))[None]
    features = network.features(image)
    gradients, _ = session.run({"features": features, "target": np.array([1])}, names)
    step = np.zeros_like(features)
    step[0, 2, 3, 5] = 1e-2
    numeric = (network.z(features + step) - network.z(features - step))[0, 1] / 2e-2
    assert gradients[0, 2, 3, 5] == pytest.approx(numeric, rel=1e-2, abs=1e-5)
