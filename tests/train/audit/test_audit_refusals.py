import cv2
import pytest
from made_up import flat, setting_of

from cxr_edge.errors import UsageError
from cxr_train.audit.refusals import refusals


@pytest.fixture
def others(tmp_path):
    for kind, levels in {"black": (0, 1, 2), "grey": (120,)}.items():
        (tmp_path / kind).mkdir()
        for level, image in zip(levels, flat(*levels), strict=True):
            cv2.imwrite(str(tmp_path / kind / f"{level}.png"), image)
    (tmp_path / "black" / "broken.png").write_bytes(b"no picture")
    return tmp_path


def test_the_gate_is_counted_by_kind(gated_bundle, others):
    setting = setting_of(gated_bundle, flat(110, 130, 255), [0, 1, 1])
    found = refusals(setting, others).to_json()
    assert [(each["kind"], each["refused"], each["pictures"], each["unreadable"]) for each in found["others"]] == [
        ("black", 3, 3, 1),
        ("grey", 0, 1, 0),
    ]
    assert found["all_others"]["share"]["value"] == 0.75
    (low, high) = (found["others"][0]["share"][end] for end in ("low", "high"))
    assert (low, high) == (pytest.approx(0.4385, abs=1e-4), 1)  # three of three
    assert [(each["refused"], each["pictures"]) for each in found["radiographs"]] == [(0, 1), (1, 2)]
    assert found["all_radiographs"]["refused"] == 1
    assert len(found["scores"]["radiographs"]) == 3
    assert len(found["scores"]["others"]) == 4


def test_a_bundle_without_a_gate_refuses_nothing_and_says_so(around, others):
    found = refusals(around(flat(60, 200), [0, 1]), others).to_json()
    assert found["threshold"] is None
    assert found["all_others"]["refused"] is found["all_others"]["share"] is None
    assert found["all_others"]["pictures"] == 4
    assert refusals(around(flat(60, 200), [0, 1]), None).to_json()["all_others"] is None


def test_a_folder_without_kinds_is_refused(around, tmp_path):
    with pytest.raises(UsageError, match="one folder of pictures for each kind"):
        refusals(around(flat(60, 200), [0, 1]), tmp_path)
