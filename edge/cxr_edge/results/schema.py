"""The record's schema: what every record holds, as types that check it and as the JSON Schema that is published.

`RECORD_SCHEMA` is raised when a field goes, moves, or comes to mean something else, so that a reader of the old number
would be wrong. A field that is added needs no new number: readers pass over what they do not know. When it is raised,
records of the number before are frozen under ``tests/data/journals``, and `cxr_edge.results.record` learns to read them
as new ones. After any change here write the published file again: ``python -m cxr_edge.results.schema``.
"""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cxr_edge.reading.radiograph import Source

RECORD_SCHEMA: Final = 2
_PUBLISHED = "record.schema.json"

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class BundleRecord(Struct, frozen=True, kw_only=True):
    """The bundle that answered; ``sha256`` is the hash of its manifest, which holds those of all its files."""

    name: str
    version: str
    sha256: str


class GateRecord(Struct, frozen=True, kw_only=True):
    """How unlike a chest radiograph the input is, and the largest score that is answered.

    ``scope`` says whose radiograph it is, where the bundle can tell: its score is the log-odds that it is not one of
    those that the network knows.
    """

    score: Finite | None
    threshold: Finite
    refused: bool
    reason: str | None
    scope: Literal["in scope", "outside", "no chest radiograph"] | UnsetType = UNSET
    scope_score: Finite | UnsetType | None = UNSET
    scope_threshold: Finite | UnsetType = UNSET


class ProbabilitySpread(Struct, frozen=True, kw_only=True):
    """The calibrated probabilities of the changed copies of an input."""

    mean: Share
    standard_deviation: Share
    lowest: Share
    highest: Share


class SpreadRecord(Struct, frozen=True, kw_only=True):
    """What the network says of slightly changed copies of the input."""

    transforms: Count
    probability: ProbabilitySpread
    label_agreement: Share
    label_changed_by: list[str]


class NormalisationRecord(Struct, frozen=True, kw_only=True):
    """How ``raw`` becomes the map that is shown."""

    kind: str
    peak: Finite


class SaliencyRecord(Struct, frozen=True, kw_only=True):
    """Grad-CAM or a relative; ``raw`` has a number for each cell of the finest convolutional map used, row by row."""

    method: Literal["gradcam", "hirescam", "gradcam++", "layercam"]
    target: str
    normalisation: NormalisationRecord
    raw: list[list[Finite]]


class StabilityRecord(Struct, frozen=True, kw_only=True):
    """The share of the leading superpixels that another run is expected to name again."""

    expected_overlap: Share | None
    top: Count


class CoefficientRecord(Struct, frozen=True, kw_only=True):
    """What showing a superpixel changes the score by, with the 95 % interval."""

    superpixel: Count
    coefficient: Finite
    interval: Annotated[list[Finite], Meta(min_length=2, max_length=2)]


class SegmentsRecord(Struct, frozen=True, kw_only=True):
    """How the input was divided into superpixels, and into how many."""

    method: str
    count: Count


class FillRecord(Struct, frozen=True, kw_only=True):
    """How far the ranking depends on what a hidden superpixel looks like: shared leaders and Spearman's correlation."""

    fill: str
    overlap: Share
    rank_correlation: Annotated[float, Meta(ge=-1.0, le=1.0)]


class ShapRecord(Struct, frozen=True, kw_only=True):
    """Shapley values, in order of falling absolute value; ``intercept`` is the score with everything hidden."""

    method: str
    score: str
    target: str
    samples: Count
    stopped: str
    r_squared: Finite
    stability: StabilityRecord
    intercept: Finite
    segments: SegmentsRecord
    coefficients: list[CoefficientRecord]
    seed: int
    provider: str
    precision: str
    fill: str | UnsetType = UNSET
    second_fill: FillRecord | UnsetType = UNSET


class LimeRecord(ShapRecord, frozen=True, kw_only=True):
    """A LIME explanation; coefficients in order of falling absolute value."""

    mode: str


class ZoneRecord(Struct, frozen=True, kw_only=True):
    """A third of the height of the patient's right or left lung, with its share of what speaks for the target."""

    side: Literal["right", "left"]
    height: Literal["upper", "middle", "lower"]
    share: Share


class EvidenceRecord(Struct, frozen=True, kw_only=True):
    """How much of what speaks for the target lies in the lungs; null where there is nothing to state."""

    lungs_share: Share | None
    gradcam_inside: Share | None
    lime_inside: Share | None
    shap_inside: Share | UnsetType | None = UNSET
    doubt: str | None
    zones: list[ZoneRecord] | UnsetType = UNSET
    zones_of: str | UnsetType | None = UNSET


class HiddenRecord(Struct, frozen=True, kw_only=True):
    """The positive label's probability without the places that a map points at, which are that share of the picture."""

    map: str
    hidden_share: Share
    probability: Share


class ExplanationRecord(Struct, frozen=True, kw_only=True):
    """The maps for one label, as far as they were asked for; ``files`` are relative to the folder of the record."""

    target: str
    saliency: SaliencyRecord | UnsetType = UNSET
    lime: LimeRecord | UnsetType = UNSET
    shap: ShapRecord | UnsetType = UNSET
    evidence: EvidenceRecord | UnsetType = UNSET
    hidden: list[HiddenRecord] | UnsetType = UNSET
    files: dict[str, str]


class ErrorRecord(Struct, frozen=True, kw_only=True):
    """Why there is no answer: ``message`` is path, problem and cure in one line."""

    kind: str
    message: str
    problem: str
    cure: str | None


class _Looked(Struct, frozen=True, kw_only=True):
    schema: Literal[2]
    path: str | None
    label: str | None
    probability: Share | None
    logodds: Finite | None
    threshold: Share
    certain_from: Share | UnsetType = UNSET
    operating_point: str
    provider: str
    precision: str
    test_time_augmentation: SpreadRecord | UnsetType = UNSET
    gate: GateRecord | UnsetType = UNSET
    warnings: list[str]
    bundle: BundleRecord
    source: Source
    sha256: Sha256 | UnsetType = UNSET
    parameters: str | UnsetType = UNSET
    time: str | UnsetType = UNSET
    explanation: ExplanationRecord | UnsetType = UNSET
    research_use: str | UnsetType = UNSET

    def to_json(self) -> dict[str, Any]:
        """Give what the record holds; facts that the source does not state are left out."""
        return {**_to_json(self), "source": self.source.to_json()}


class Answered(_Looked, frozen=True, kw_only=True, tag_field="status", tag="ok"):
    """An input with an answer: ``probability`` is that of the positive label, calibrated, whatever the label.

    ``label`` is ``UNSURE`` from ``threshold`` on and below ``certain_from``.
    """

    status: ClassVar[Literal["ok"]] = "ok"

    label: str
    probability: Share
    logodds: Finite


class Refused(_Looked, frozen=True, kw_only=True, tag_field="status", tag="refused"):
    """An input that gets no label, because it is no chest radiograph; ``gate`` says why."""

    status: ClassVar[Literal["refused"]] = "refused"

    label: None
    probability: None
    logodds: None


class Failed(Struct, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """An input that could not be answered."""

    status: ClassVar[Literal["error"]] = "error"

    schema: Literal[2]
    path: str
    error: ErrorRecord
    sha256: Sha256 | UnsetType | None = UNSET
    parameters: str | UnsetType = UNSET
    time: str | UnsetType = UNSET

    def to_json(self) -> dict[str, Any]:
        """Give what the record holds."""
        return _to_json(self)


Record = Answered | Refused | Failed


def check(values: object) -> Record:
    """Make a record of what JSON said.

    Raises:
        ValueError: A field is missing or of another type; the message says which.
    """
    return msgspec.convert(values, Record, dec_hook=_to_path)


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of a record."""
    record = msgspec.json.schema(Record, schema_hook=lambda _: {"type": "string"})
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"cxr-edge record, schema {RECORD_SCHEMA}",
        "description": "One input's answer, refusal or failure: a line of predict --json and of a scan's results.jsonl,"
        " and the explanation.json of explain. Fields may be added without a new number.",
        **record,
    }
    return json.loads(json.dumps(schema))  # tuples as what they are in JSON


def published() -> str:
    """Give the JSON Schema as the package holds it."""
    return files("cxr_edge.results").joinpath(_PUBLISHED).read_text("utf-8")


def _to_json(record: _Looked | Failed) -> dict[str, Any]:
    return {"schema": record.schema, "path": record.path, **msgspec.to_builtins(record, enc_hook=os.fspath)}


def _to_path(_: type, value: object) -> Path:
    if not isinstance(value, str):
        raise TypeError(f"expected a path, got {type(value).__name__}")
    return Path(value)


if __name__ == "__main__":
    Path(__file__).with_name(_PUBLISHED).write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
