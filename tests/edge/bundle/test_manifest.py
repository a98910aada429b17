import copy
import hashlib
import json

import pytest

from cxr_edge.bundle.manifest import READABLE, SCHEMA, Manifest
from cxr_edge.errors import BundleError
from tiny import manifest_values

POINT = {"threshold": 0.5, "criterion": "c", "chosen_on": "n", "recall": 0.9, "specificity": 0.9}
GATE = {"file": "classifier.onnx", "threshold": 1.0, "method": "m", "chosen_on": "c"}


@pytest.fixture
def values():
    record = {"sha256": "0" * 64, "bytes": 3}
    return {**manifest_values(), "files": {"classifier.onnx": record, "classifier.int8.onnx": record}}


def test_a_manifest_comes_back_as_it_was(values):
    manifest = Manifest.from_bytes(json.dumps(values).encode())
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


def test_layercam_is_optional_and_its_layers_are_checked(values):
    assert Manifest.from_json(values).layercam is None
    layers = [{"height": side, "width": side, "channels": 8} for side in (7, 14)]
    values["layercam"] = {"file": "classifier.onnx", "layers": layers}
    manifest = Manifest.from_json(values)
    assert [layer.height for layer in manifest.layercam.layers] == [7, 14]
    assert Manifest.from_json(manifest.to_json()) == manifest
    for wrong in ([], layers[::-1], [{**layers[0], "height": 0}], [{**layers[0], "channels": 2**20}]):
        with pytest.raises(BundleError, match=r"LayerCAM must|features must"):
            Manifest.from_json({**values, "layercam": {"file": "classifier.onnx", "layers": wrong}})
    with pytest.raises(BundleError, match="must be in files"):
        Manifest.from_json({**values, "layercam": {"file": "layercam.onnx", "layers": layers}})


def test_whole_numbers_pass_for_real_ones(values):
    values["calibration"]["scale"] = 1
    assert isinstance(Manifest.from_json(values).calibration.scale, float)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), 3, "schema 3, this version reads 1 and 2"),
        (("schema",), "2" * 99, "schema '2{19}, this"),
        (("labels",), ["NORMAL", "NORMAL"], "two different"),
        (("labels",), ["NORMAL", "\x1b[2JPNEUMONIA"], "printable"),
        (("name",), "tiny\n", "printable"),
        (("name",), "n" * 201, "printable"),
        (("version",), "", "printable"),
        (("operating_points", "points", "\u202e"), POINT, "printable"),
        (("precisions", "int8\r"), {"file": "classifier.onnx"}, "printable"),
        (("labels",), ["NORMAL"], "labels"),
        (("positive",), "COVID", "labels"),
        (("preprocessing", "resize"), "area", "preprocessing"),
        (("input", "range"), [0, 1], "input"),
        (("input", "height"), "224", r"Expected `int`, got `str` - at `\$\.input\.height`"),
        (("input", "height"), 10**9, "2048 rows"),
        (("input", "width"), 0, "1 to 2048"),
        (("features", "channels"), 0, "features"),
        (("features", "height"), 225, "no larger than the input"),
        (("calibration", "scale"), float("inf"), "calibration"),
        (("calibration", "scale"), -1.0, "calibration"),
        (("calibration", "bias"), float("nan"), "calibration"),
        (("operating_points", "points", "balanced", "specificity"), 1.1, "specificity"),
        (("gate",), {**GATE, "threshold": 1e308}, "gate's threshold"),
        (("gate",), {**GATE, "threshold": float("inf")}, "gate's threshold"),
        (("gate",), {**GATE, "threshold": float("nan")}, "gate's threshold"),
        (("gate",), {**GATE, "threshold": -1.0}, "gate's threshold"),
        (("lungs",), {"file": "classifier.onnx", "dice": 2.0, "measured_on": "nothing"}, "Dice"),
        (("scope",), {"ages": ["1", "5"], "views": [], "body_parts": []}, r"got `str` - at `\$\.scope\.ages\[0\]`"),
        (("scope",), {"ages": [1, float("inf")], "views": [], "body_parts": []}, "ages"),
        (("scope",), {"ages": [], "views": ["AP", 3], "body_parts": []}, r"got `int` - at `\$\.scope\.views\[1\]`"),
        (("scope",), {"ages": [], "views": ["A\tP"], "body_parts": []}, "printable"),
        (("files", "big.bin"), {"sha256": "0" * 64, "bytes": 2**31}, "bytes in all"),
        (("files", "big.bin"), {"sha256": "0" * 64, "bytes": -1}, "bytes in all"),
        (("operating_points", "default"), "none", "default operating point"),
        (("operating_points", "points", "balanced", "threshold"), 1.5, "thresholds"),
        (("operating_points", "points", "balanced", "threshold"), float("nan"), "thresholds"),
        (
            ("operating_points", "points", "balanced", "recall"),
            None,
            r"required field `recall` - at `\$\.operating_points\.points",
        ),
        (("precisions", "fp32"), None, "fp32"),
        (("precisions", "int8", "file"), "other.onnx", "precision's file"),
        (("gate",), {**GATE, "file": "no.onnx"}, "gate's"),
        (("lungs",), {"file": "no.onnx", "dice": 1}, "required field `measured_on`"),
        (("scope",), {"ages": [5, 1], "views": [], "body_parts": []}, "youngest first"),
        (("files", "../../secret"), {"sha256": "0" * 64, "bytes": 3}, "plain names"),
        (("files", "classifier.onnx", "sha256"), "abc", "SHA-256"),
        (("calibration", "bias"), True, r"got `bool` - at `\$\.calibration\.bias`"),
        (("name",), None, "required field `name`"),
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


def test_a_message_is_printable_whatever_the_manifest_says(values):
    values["input"]["\x1b[2J"] = values["schema"] = "\x1b[2J"
    with pytest.raises(BundleError) as raised:
        Manifest.from_json(values)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"schema": NaN}',
        b'{"schema": 1e999}',
        b'{"schema": %b}' % (b"9" * 10_000),
        b'{"training": %b1%b}' % (b"[" * 100_000, b"]" * 100_000),
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_what_is_no_json_object_is_damaged(data):
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Manifest.from_bytes(data)


def test_the_schema_that_is_written_is_read():
    assert max(READABLE) == SCHEMA


def sealed(values):
    text = json.dumps({**values, "schema": 1, "seal": "0" * 64})
    return text.replace("0" * 64 + '"}', hashlib.sha256(text.encode()).hexdigest() + '"}').encode()


def test_the_seal_of_schema_1_covers_every_byte(values):
    for record in values["files"].values():
        record["sha256"] = "1" * 64
    data = sealed(values)
    assert Manifest.from_bytes(data).schema == 1
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(BundleError, match=r"manifest\.json"):
            Manifest.from_bytes(bytes(changed))


@pytest.mark.parametrize("seal", [None, 3, "", "0" * 63, ["a"]])
def test_schema_1_without_a_seal_is_refused(values, seal):
    with pytest.raises(BundleError, match="not sealed"):
        Manifest.from_bytes(json.dumps({**values, "schema": 1, "seal": seal}).encode())
