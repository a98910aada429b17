"""Answer and maps come from one run of the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.api import Model, load
from cxr_edge.explanation import CamMethod, LimeOptions
from cxr_edge.runtime.sessions import Session


@pytest.fixture(scope="module")
def model() -> Model:
    return load(provider="cpu", precision="fp32")


@pytest.fixture(scope="module")
def path(radiographs: Path) -> Path:
    return min(radiographs.iterdir())


class Counting:
    """An ONNX Runtime session that counts its runs."""

    def __init__(self, inference: object) -> None:
        self.inference = inference
        self.runs = 0

    def run(self, *arguments: object) -> object:
        self.runs += 1
        return self.inference.run(*arguments)  # type: ignore[attr-defined]


def counted(session: Session) -> tuple[Session, Counting]:
    counting = Counting(session.inference)
    return replace(session, inference=counting), counting


@pytest.mark.parametrize("cam", ["layercam", "hirescam", "gradcam"])
def test_the_network_runs_once_for_answer_and_map(
    model: Model, path: Path, cam: CamMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, runs = counted(model.classifier.session)
    backward, backward_runs = counted(model.explainer.layercam.session)
    monkeypatch.setattr(model.classifier, "session", plain)
    monkeypatch.setattr(model.explainer.layercam, "session", backward)
    found = model.explain(path, method="gradcam", cam=cam)
    after = 1  # the answer without the places that the map points at
    assert (runs.runs, backward_runs.runs) == ((1 + after, 0) if cam == "gradcam" else (after, 1))
    assert found.saliency is not None
    assert found.saliency.peak > 0


@pytest.mark.parametrize("cam", ["layercam", "hirescam"])
def test_one_run_gives_what_two_give(model: Model, path: Path, cam: CamMethod) -> None:
    answer = model.predict(path)
    assert not answer.prediction.maps
    two, one = (
        model.explainer.explain(answer, method="gradcam", cam=cam),
        model.explain(path, method="gradcam", cam=cam),
    )
    assert two.saliency is not None
    assert one.saliency is not None
    np.testing.assert_allclose(one.saliency.raw, two.saliency.raw, atol=1e-3 * two.saliency.peak)
    assert one.answer.label == answer.label
    assert one.answer.prediction.logodds == pytest.approx(answer.prediction.logodds, abs=1e-3)
    assert one.answer.prediction.gate_score == pytest.approx(answer.prediction.gate_score, abs=1e-2)
    assert one.answer.prediction.descriptor is not None


def test_another_precision_answers_by_its_own_network(path: Path) -> None:
    model = load(provider="cpu", precision="int8")
    found = model.explain(path, method="gradcam", cam="layercam")
    assert found.answer.prediction.precision == "int8"
    assert not found.answer.prediction.maps
    assert found.saliency is not None


def test_all_methods_share_one_partition(model: Model, path: Path) -> None:
    found = model.explain(path, method="all", lime=LimeOptions(samples=32))
    assert found.lime is not None
    assert found.shap is not None
    assert found.lime.superpixels is found.shap.superpixels
