"""An audit quoted by the bundle that it looked at, and by no other."""

import json
import shutil

import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_export.audit import add_audit
from cxr_export.folders import changing


@pytest.fixture
def copy(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


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


def test_the_card_and_the_manifest_quote_the_audit(copy, tmp_path):
    before = Bundle.open(copy)
    add_audit(before, written(tmp_path / "audit.json", audit_of(before)))
    after = Bundle.open(copy)
    assert after.manifest.audit["points"]["balanced"]["recall"]["value"] == 0.75
    assert after.manifest.files["classifier.onnx"] == before.manifest.files["classifier.onnx"]
    card = (copy / "MODEL_CARD.md").read_text("utf-8")
    assert "cxr-train audit --data data --out audits/one" in card
    assert "| AUROC | at least 0.975 | 0.750 | **missed** |" in card
    assert "| balanced | 0.7500 (0.5000 to 1.0000) | 0.7500 (0.5000 to 1.0000) |" in card
    assert "3 NORMAL, 4 PNEUMONIA, 6 patients" in card
    assert "audit them again" not in card


def test_a_network_that_changes_afterwards_makes_the_card_say_so(copy, tmp_path):
    bundle = Bundle.open(copy)
    add_audit(bundle, written(tmp_path / "audit.json", audit_of(bundle)))
    with changing(Bundle.open(copy)) as (folder, _), (folder / "gradcam.onnx").open("ab") as file:
        file.write(b"\x32\x01x")  # a remark, as protobuf writes it
    assert "**The networks were changed after this audit: audit them again.**" in (copy / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("changes", [{"files": {"classifier.onnx": "0" * 64}}, {"threshold": 0.4}])
def test_an_audit_of_another_bundle_is_refused(copy, tmp_path, changes):
    bundle = Bundle.open(copy)
    with pytest.raises(UsageError, match="an audit of another bundle"):
        add_audit(bundle, written(tmp_path / "audit.json", audit_of(bundle, **changes)))
    assert Bundle.open(copy).digest == bundle.digest


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", "{}", '{"schema": 1, "kind": "scan"}', '{"schema": 1, "kind": "audit"}']
)
def test_what_is_no_audit_is_refused(copy, tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="audit"):
        add_audit(Bundle.open(copy), path)
