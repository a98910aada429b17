"""The scope: learned from copies and from elsewhere, a second output of the gate, a bundle that gives no label."""

import cv2
import numpy as np
import pytest
from small import DATA, SIZE

import cxr_edge
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.runtime.sessions import open_session
from cxr_export.gate import Distance, add_gate
from cxr_export.scope import ScopeModel, add_scope
from cxr_train.dataset import noise


@pytest.fixture
def elsewhere(tmp_path):
    """Two sources: noise, and radiographs with stripes over them."""
    files = sorted((DATA / "train").rglob("*.jpeg"))
    for name in ("noise", "stripes"):
        (tmp_path / name).mkdir()
    for number, picture in enumerate(noise(8, size=(SIZE, SIZE), seed=4)):
        cv2.imwrite(str(tmp_path / "noise" / f"{number}.png"), picture.astype(np.uint8))
    for number, file in enumerate(files[:8]):
        picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        picture[::4] = 255
        cv2.imwrite(str(tmp_path / "stripes" / f"{number}.png"), picture)
    return [tmp_path / "noise", tmp_path / "stripes"]


def test_the_second_output_is_the_model_and_the_first_stays():
    rng = np.random.default_rng(0)
    known, other = (rng.normal(level, 1, (300, 12)).astype(np.float32) for level in (0, 1))
    model = ScopeModel.of(known, other)
    assert model.scores(known).mean() < -1 < 1 < model.scores(other).mean()
    gate = Distance.of(known).graph().SerializeToString()
    both = open_session(model.added_to(gate), provider="cpu", threads=1)
    score, elsewhere = both.run({"descriptor": other}, ["score", "elsewhere"])
    np.testing.assert_allclose(elsewhere, model.scores(other), rtol=1e-4, atol=1e-4)
    alone = open_session(gate, provider="cpu", threads=1)
    np.testing.assert_array_equal(score, alone.run({"descriptor": other}, ["score"])[0])
    assert ScopeModel.of(known, other).added_to(model.added_to(gate)) == model.added_to(gate)


def test_a_bundle_gives_no_label_to_what_comes_from_elsewhere(own, elsewhere):
    add_gate(own, data=DATA)
    report = add_scope(Bundle.open(own.folder), data=DATA, elsewhere=elsewhere)
    after = Bundle.open(own.folder)
    assert after.manifest.gate.scope.threshold == report.threshold
    assert report.sources == {"noise": 8, "stripes": 8}
    assert set(report.labelled_unseen) == set(report.labelled) == {"noise", "stripes"}
    assert {"as they are", "blur", "border"} <= set(report.refused)
    assert "from elsewhere" in after.path("MODEL_CARD.md").read_text("utf-8")

    model = cxr_edge.load(own.folder, provider="cpu")
    known = [model.predict(file) for file in (DATA / "train").rglob("*.jpeg")]
    strange = [model.predict(file) for file in elsewhere[0].iterdir()]
    assert np.mean([answer.refusal is None for answer in known]) > 0.8
    assert all(answer.refusal for answer in strange)
    assert min(answer.prediction.scope_score for answer in strange) > report.threshold

    add_gate(after, data=DATA)  # learned anew, it may look at something else
    assert Bundle.open(own.folder).manifest.gate.scope is None


def test_a_bundle_without_a_gate_and_an_empty_source_are_refused(own, elsewhere, tmp_path):
    with pytest.raises(UsageError, match="cxr-export gate"):
        add_scope(own, data=DATA, elsewhere=elsewhere)
    add_gate(own, data=DATA)
    gated = Bundle.open(own.folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no radiograph"):
        add_scope(gated, data=DATA, elsewhere=[*elsewhere, tmp_path / "empty"])
    assert Bundle.open(own.folder).digest == gated.digest
