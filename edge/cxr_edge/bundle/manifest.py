"""What a bundle says about itself: the content of its ``manifest.json``."""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import msgspec

from cxr_edge.errors import BundleError

SCHEMA = 2
"""The number of the schema that is written.

A new optional key needs no new number. A key that changes its meaning, or that every reader must know, needs one:

1. Copy a small bundle of the present schema to ``tests/data/bundles/schemaN``; its test opens, verifies and answers it.
2. Raise `SCHEMA`, and leave the former number in `READABLE`.
3. Have `Manifest.from_bytes` turn what the former schema says into what the new one says, or fail with the cure.
4. Say in the table below what changed.

| schema | what it brought |
|---|---|
| 1 | the first; with a hash of the manifest itself under the key ``seal`` |
| 2 | without the seal, whose work the bundle's digest does |
"""
READABLE = (1, 2)
PREPROCESSING = {"resize": "bilinear", "antialias": False, "aspect": "squash", "channels": "grey"}
LARGEST = 2**30
"""Bytes that a bundle may have: its files are read into memory."""
_SIDE = 2048  # pixels: the largest input, 16 MB of numbers
_SCORE = 1e6  # the largest threshold of a gate: a distance in standard deviations
_WORD = 200  # characters
_NO_SEAL = "0" * 64


@dataclass(frozen=True)
class InputSpec:
    """What the graph takes: grey values [N, height, width] within ``range``."""

    name: str
    height: int
    width: int
    dtype: str
    range: list[float]


@dataclass(frozen=True)
class FeatureSpec:
    """The shape of the last convolutional map."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(scale · log-odds + bias), already inside the graph."""

    method: str
    scale: float
    bias: float
    chosen_on: str


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the calibrated probability, with the recall and specificity where it was chosen."""

    threshold: float
    criterion: str
    chosen_on: str
    recall: float
    specificity: float


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds by name, and the name of the one that is used unless another is asked for."""

    default: str
    points: dict[str, OperatingPoint]


@dataclass(frozen=True)
class Precision:
    """A classifier file, and what its answers lose against float32."""

    file: str
    loss: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateSpec:
    """The graph that scores how unlike a chest radiograph an input is; above the threshold it is refused."""

    file: str
    threshold: float
    method: str
    chosen_on: str


@dataclass(frozen=True)
class LungSpec:
    """The graph that outlines the lungs.

    Attributes:
        file: Its name.
        dice: Mean Dice coefficient with outlines that people drew.
        measured_on: Where.
        training: How it was trained and all it reached, as the training wrote it.
    """

    file: str
    dice: float
    measured_on: str
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """Whose radiographs the network was trained on; an empty list sets no limit.

    Attributes:
        ages: Youngest and oldest, in completed years.
        views: Values of DICOM View Position (0018,5101).
        body_parts: Values of DICOM Body Part Examined (0018,0015).
    """

    ages: list[float]
    views: list[str]
    body_parts: list[str]


@dataclass(frozen=True)
class FileRecord:
    """The identity of one file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The parsed ``manifest.json``.

    Attributes:
        schema: See `SCHEMA`.
        name: The bundle's name.
        version: Its version.
        labels: Class names by class index.
        positive: The label whose probability is given.
        input: What the graph takes.
        preprocessing: What the host does before; this version knows exactly `PREPROCESSING`.
        features: The shape of the last convolutional map.
        calibration: How log-odds became probabilities.
        operating_points: The thresholds.
        precisions: Classifier files by precision; ``fp32`` is always there.
        training: How the network was trained and what it reached, as the training wrote it.
        tools: Package versions that made the bundle.
        licence: Licence of the weights.
        data: Name, licence and citation of the training data.
        files: Every other file of the bundle.
        gate: What refuses inputs that are no chest radiographs; None answers everything.
        lungs: What outlines the lungs; None leaves it open where the evidence lies.
        scope: Whose radiographs it was trained on; None leaves it at frontal chest radiographs.
        audit: The main figures of an audit of its networks, as the audit wrote them; None where it quotes none.
        extra: Keys that this version does not know.
    """

    schema: int
    name: str
    version: str
    labels: list[str]
    positive: str
    input: InputSpec
    preprocessing: dict[str, Any]
    features: FeatureSpec
    calibration: Calibration
    operating_points: OperatingPoints
    precisions: dict[str, Precision]
    training: dict[str, Any]
    tools: dict[str, str]
    licence: str
    data: dict[str, str]
    files: dict[str, FileRecord]
    gate: GateSpec | None = None
    lungs: LungSpec | None = None
    scope: Scope | None = None
    audit: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what types cannot say.

        Raises:
            BundleError: A rule is broken.
        """
        for rule, holds in self._rules():
            if not holds:
                raise BundleError(f"manifest.json: {rule}; export the bundle again")

    def _rules(self) -> Iterator[tuple[str, bool]]:
        """Say what has to hold, and whether it does; not a number passes no comparison."""
        points, spec, map_, scope = self.operating_points, self.input, self.features, self.scope
        yield (
            f"names and labels must be printable, of 1 to {_WORD} characters",
            all(each.isprintable() and 0 < len(each) <= _WORD for each in self._words()),
        )
        yield f"preprocessing must be {PREPROCESSING}", self.preprocessing == PREPROCESSING
        yield (
            f"input must be pixels, float32, in 0..255, of 1 to {_SIDE} rows and columns",
            (spec.name, spec.dtype, spec.range) == ("pixels", "float32", [0, 255])
            and 0 < min(spec.height, spec.width) <= max(spec.height, spec.width) <= _SIDE,
        )
        yield (
            "features must be no larger than the input, with 1 to 65536 channels",
            0 < map_.height <= spec.height and 0 < map_.width <= spec.width and 0 < map_.channels <= 2**16,
        )
        yield "labels must be two different ones, with the positive one", len({*self.labels}) == len(self.labels) == 2
        yield "labels must be two different ones, with the positive one", self.positive in self.labels
        yield (
            "calibration must have a positive scale and a bias that are numbers",
            0 < self.calibration.scale < math.inf and math.isfinite(self.calibration.bias),
        )
        yield "the default operating point must be one of the points", points.default in points.points
        yield (
            "thresholds, recall and specificity must lie in 0..1",
            all(
                0 <= value <= 1
                for point in points.points.values()
                for value in (point.threshold, point.recall, point.specificity)
            ),
        )
        yield "precisions must contain fp32", "fp32" in self.precisions
        yield (
            "every precision's file must be in files",
            all(each.file in self.files for each in self.precisions.values()),
        )
        yield (
            "the gate's and the lungs' file must be in files",
            all(each is None or each.file in self.files for each in (self.gate, self.lungs)),
        )
        yield f"the gate's threshold must lie in 0..{_SCORE:g}", self.gate is None or 0 <= self.gate.threshold <= _SCORE
        yield "the lungs' Dice coefficient must lie in 0..1", self.lungs is None or 0 <= self.lungs.dice <= 1
        yield (
            "scope's ages must be none or two of 0..150, the youngest first",
            scope is None or not scope.ages or (len(scope.ages) == 2 and 0 <= scope.ages[0] <= scope.ages[1] <= 150),
        )
        yield (
            "files must be plain names with a SHA-256",
            all(
                re.fullmatch(r"\w[\w.-]*", name) and re.fullmatch(r"[0-9a-f]{64}", record.sha256)
                for name, record in self.files.items()
            ),
        )
        yield (
            f"files must have at most {LARGEST} bytes in all",
            all(record.bytes >= 0 for record in self.files.values())
            and sum(record.bytes for record in self.files.values()) <= LARGEST,
        )

    def _words(self) -> Iterator[str]:
        """Give what reaches tables, messages and file names."""
        yield from (self.name, self.version, *self.labels, *self.files)
        yield from (*self.operating_points.points, *self.precisions)
        if self.scope is not None:
            yield from (*self.scope.views, *self.scope.body_parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Take in a file ``manifest.json``.

        Raises:
            BundleError: It is no JSON object, or see `from_json`; or it is of schema 1 and was changed after it was
                sealed.
        """
        try:
            values = msgspec.json.decode(data, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise BundleError(f"manifest.json is damaged ({error}); install or export the bundle again") from error
        if values.get("schema") == 1:
            _check_seal(values.pop("seal", None), data)
        return cls.from_json(values)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """Take in the content of ``manifest.json``.

        Raises:
            BundleError: A key is missing, has the wrong type or contradicts another, or the bundle asks for a schema
                or a preprocessing that this version does not have.
        """
        if values.get("schema") not in READABLE:
            raise BundleError(
                f"manifest.json has schema {repr(values.get('schema'))[:20]}, this version reads"
                f" {' and '.join(map(str, READABLE))}; install the cxr-edge that fits the bundle"
            )
        known = {entry.name for entry in fields(cls)} - {"extra"}
        extra = {name: value for name, value in values.items() if name not in known}
        try:
            return msgspec.convert({**values, "extra": extra}, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BundleError(f"manifest.json: {error}; export the bundle again") from error

    def to_json(self) -> dict[str, Any]:
        """Give the content of ``manifest.json``."""
        values = asdict(self)
        extra = values.pop("extra")
        return {**values, **extra}


def _check_seal(stated: Any, data: bytes) -> None:
    """Check the hash that a manifest of schema 1 states of itself, with 64 zeros in the place of that hash.

    Raises:
        BundleError: There is none, or it is another.
    """
    if not isinstance(stated, str) or not re.fullmatch(r"[0-9a-f]{64}", stated):
        raise BundleError("manifest.json is of schema 1 but not sealed; install or export the bundle again")
    if hashlib.sha256(data.replace(stated.encode(), _NO_SEAL.encode())).hexdigest() != stated:
        raise BundleError("manifest.json was changed after it was sealed; install or export the bundle again")
