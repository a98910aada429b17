import copy

import pytest

from cxr_edge.bundle.manifest import Manifest, seal, unseal
from cxr_edge.errors import BundleError
from tiny import manifest_values


@pytest.fixture
def values():
    record = {"sha256": "0" * 64, "bytes": 3}
    return {**manifest_values(), "files": {"classifier.onnx": record, "classifier.int8.onnx": record}}


def test_a_manifest_comes_back_as_it_was(values):
    manifest = Manifest.from_json(unseal(seal(values)))
    assert manifest.operating_points.points["strict"].threshold == 0.999
    assert manifest.precisions["fp32"].loss == {}
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_unknown_keys_are_kept(values):
    manifest = Manifest.from_json({**values, "later": {"threshold": 3}})
    assert manifest.extra == {"later": {"threshold": 3}}
    assert manifest.to_json()["later"] == {"threshold": 3}


def test_optional_parts_are_read_or_absent(values):
    assert Manifest.from_json(values).scope is None
    values["scope"] = {"ages": [1, 5], "views": ["AP"], "body_parts": ["CHEST"]}
    manifest = Manifest.from_json(values)
    assert manifest.scope.views == ["AP"]
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_whole_numbers_pass_for_real_ones(values):
    values["calibration"]["scale"] = 1
    assert isinstance(Manifest.from_json(values).calibration.scale, float)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), 2, "schema 2"),
        (("labels",), ["NORMAL"], "labels"),
        (("positive",), "COVID", "labels"),
        (("preprocessing", "resize"), "area", "preprocessing"),
        (("input", "range"), [0, 1], "input"),
        (("input", "height"), "224", r"input\.height is '224', expected int"),
        (("operating_points", "default"), "none", "default operating point"),
        (("operating_points", "points", "balanced", "threshold"), 1.5, "thresholds"),
        (("operating_points", "points", "balanced", "threshold"), float("nan"), "thresholds"),
        (("operating_points", "points", "balanced", "recall"), None, r"balanced\.recall is missing"),
        (("precisions", "fp32"), None, "fp32"),
        (("precisions", "int8", "file"), "other.onnx", "precision's file"),
        (("gate",), {"file": "no.onnx", "threshold": 1, "method": "m", "chosen_on": "c"}, "gate's"),
        (("lungs",), {"file": "no.onnx", "dice": 1}, "measured_on is missing"),
        (("scope",), {"ages": [5, 1], "views": [], "body_parts": []}, "youngest first"),
        (("files", "../../secret"), {"sha256": "0" * 64, "bytes": 3}, "plain names"),
        (("files", "classifier.onnx", "sha256"), "abc", "SHA-256"),
        (("calibration", "bias"), True, r"calibration\.bias is True"),
        (("name",), None, "name is missing"),
    ],
)
def test_each_broken_rule_is_named(values, path, value, said):
    broken = copy.deepcopy(values)
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(BundleError, match=said):
        Manifest.from_json(broken)


def test_the_seal_covers_every_byte(values):
    sealed = seal(values)
    for position in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(BundleError, match=r"manifest\.json"):
            unseal(bytes(changed))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"seal": 3}', b"\xff\xfe"])
def test_what_was_never_sealed_is_refused(data):
    with pytest.raises(BundleError, match="not sealed"):
        unseal(data)
