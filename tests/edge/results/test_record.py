import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cxr_edge import load
from cxr_edge.errors import InputError
from cxr_edge.results.outcomes import Failure
from cxr_edge.results.record import read_record, rename, to_line, to_record
from cxr_edge.results.schema import Answered, Failed, Refused, check, json_schema, published
from records import answer, failure, refusal
from tiny import lung_picture

FROZEN = Path(__file__).parents[2] / "data" / "journals"


def strict(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {**{name: strict(each) for name, each in schema.items()}, **closed}


def validate(record: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(strict(json_schema())).validate(json.loads(to_line(record)))


def test_the_published_schema_is_that_of_the_types() -> None:
    assert json.loads(published()) == json_schema(), "run python -m cxr_edge.results.schema"
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_outcome_keeps_all_it_says(lung_bundle: Path, gated_bundle: Path, radiographs: Path) -> None:
    model = load(lung_bundle, provider="cpu", threads=1, test_time_augmentation=True)
    gated = load(gated_bundle, provider="cpu", threads=1)
    outcomes = [model.predict(path) for path in sorted(radiographs.iterdir())]
    outcomes.append(gated.predict(lung_picture() // 255))  # black
    missing = InputError("no such file", kind="not-found", cure="check the path", path=Path("a.png"))
    for outcome in (*outcomes, Failure.of(missing)):
        record = to_record(outcome, sha256="ab" * 32, parameters="p", time=datetime(2026, 1, 2, tzinfo=UTC)).to_json()
        added = {"sha256": "ab" * 32, "parameters": "p", "time": "2026-01-02T00:00:00.000+00:00"}
        assert record == {**outcome.to_json(), **added}
        validate(record)
        assert read_record(to_line(record)).to_json() == record


def test_an_explanation_keeps_all_it_says(lung_bundle: Path) -> None:
    explanation = load(lung_bundle, provider="cpu", threads=1).explain(lung_picture())
    record = explanation.to_json()
    validate(record)
    assert read_record(to_line(record)).to_json() == record
    said = record["explanation"]
    assert said["saliency"] == explanation.saliency.to_json()
    assert said["lime"] == explanation.lime.to_json()
    assert said["evidence"] == explanation.evidence.to_json()
    assert record["warnings"] == list(explanation.warnings)
    assert record["research_use"].startswith("Research use only")


def test_an_error_has_fields() -> None:
    path = Path("ward") / os.fsdecode(b"\xff.png")
    error = InputError("cut off", kind="truncated", cure="fetch it again", path=path)
    record = to_record(Failure.of(error)).to_json()
    assert record["error"] == {
        "kind": "truncated",
        "message": f"{path}: cut off; fetch it again",
        "problem": "cut off",
        "cure": "fetch it again",
    }
    assert read_record(to_line(record)).path == str(path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nonsense", "no JSON"),
        ("", "no JSON"),
        ("\0" * 64, "no JSON"),
        ("[" * 100_000, "nested too deep"),
        ("3", "expected `object`"),
        ("[]", "expected `object`"),
        ("{}", "missing required field `status`"),
        (answer("a", schema=3), "schema"),
        (answer("a", schema=[1]), "schema"),
        (answer("a", status="maybe"), "status"),
        ({**answer("a"), "path": ["a"]}, "path"),
        (answer("a", label=None), "label"),
        (answer("a", label={}), "label"),
        ({**answer("a"), "probability": "0.5"}, "probability"),
        ({**answer("a"), "probability": 1.5}, "probability"),
        (answer("a", probability=10**400), "out of range"),
        (answer("a", warnings="none"), "warnings"),
        (answer("a", warnings=[1]), "warnings[0]"),
        (answer("a", bundle=[]), "bundle"),
        (answer("a", source={"path": 3, "format": "PNG", "width": 1, "height": 1, "bits": 8}), "source.path"),
        (answer("a", source="a"), "source"),
        (answer("a", sha256="../../etc"), "sha256"),
        (answer("a", explanation=3), "explanation"),
        ({**failure("a"), "error": "empty"}, "error"),
        ({**failure("a"), "error": {"kind": ["x"], "message": "m"}}, "error"),
        ({"schema": 1, "path": 3, "status": "error", "error": {"kind": "k", "message": "m"}}, "path"),
        ({"schema": 1, "path": "a", "status": "error", "error": {"kind": "k"}}, "error"),
        ({"schema": 1, "path": "a", "status": "error", "error": 7}, "error"),
        (json.dumps(answer("a")).replace("-1.5", "NaN"), "NaN"),
        (json.dumps(answer("a")).replace("-1.5", "-Infinity"), "-Infinity"),
        (json.dumps(answer("a")).replace("-1.5", "1e999"), "logodds"),
    ],
)
def test_what_is_no_record_is_refused_with_its_fault(line: str | dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)^.*") as caught:
        read_record(line if isinstance(line, str) else json.dumps(line))
    assert fault.lower() in str(caught.value).lower()


def test_fields_of_a_later_version_are_passed_over() -> None:
    record = read_record(json.dumps(answer("a", novelty=[1], source={**answer("a")["source"], "laterality": "L"})))
    assert record.to_json() == answer("a")


def test_the_same_content_under_another_name() -> None:
    path = Path("b") / os.fsdecode(b"\xff.png")
    for values in (answer("a.png"), refusal("a.png"), failure("a.png", sha256="cd" * 32)):
        renamed = rename(check(values), path).to_json()
        if "source" in renamed:
            assert renamed == {**values, "path": str(path), "source": {**values["source"], "path": str(path)}}
        else:
            assert renamed["path"] == str(path)
            assert renamed["error"] == {**values["error"], "message": f"{path}: is empty; send it again"}


def test_records_of_schema_1_are_read_as_schema_2() -> None:
    lines = (FROZEN / "schema1" / "results.jsonl").read_text().splitlines()
    records = [read_record(line) for line in lines]
    assert sorted(type(record).__name__ for record in records) == ["Answered"] * 3 + ["Failed", "Refused"]
    for line, record in zip(lines, records, strict=True):
        old, new = json.loads(line), record.to_json()
        validate(new)
        assert new["schema"] == 2
        if isinstance(record, Failed):
            assert record.error.problem == "neither JPEG, PNG, TIFF, BMP nor DICOM"
            assert new["error"] == {**old["error"], "problem": record.error.problem, "cure": None}
        else:
            assert new == {**old, "schema": 2}
        if isinstance(record, Refused):
            assert record.gate.refused
        if isinstance(record, Answered):
            assert record.explanation.evidence.lungs_share is not None
            assert {"thumbnail.jpg", "gradcam.jpg", "figure.png"} == set(record.explanation.files)


def test_an_explanation_of_schema_1_is_read_as_schema_2() -> None:
    text = (FROZEN / "schema1" / "explanation.json").read_text()
    old, record = json.loads(text), read_record(text)
    new = record.to_json()
    validate(new)
    said = new["explanation"]
    assert {name: said[name] for name in ("saliency", "lime")} == old["explanations"]
    assert (said["evidence"], said["target"]) == (old["evidence"], old["target"])
    assert list(said["files"]) == old["files"]
    kept = set(old) - {"schema", "target", "explanations", "evidence", "files"}
    assert {name: new[name] for name in kept} == {name: old[name] for name in kept}
