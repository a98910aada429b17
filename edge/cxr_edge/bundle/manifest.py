"""What a bundle says about itself: the content of its ``manifest.json``, schema 1."""

import hashlib
import json
import re
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin

from cxr_edge.errors import BundleError

SCHEMA = 1
PREPROCESSING = {"resize": "bilinear", "antialias": False, "aspect": "squash", "channels": "grey"}
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
class PreparedSpec:
    """The classifier of hash ``made_from`` with its weights in blocks of channels, by one version of ONNX Runtime."""

    graph: str
    weights: str
    block: int
    onnxruntime: str
    made_from: str


@dataclass(frozen=True)
class Precision:
    """A classifier file, what its answers lose against float32, and perhaps the same prepared for a quicker start."""

    file: str
    loss: dict[str, Any] = field(default_factory=dict)
    prepared: PreparedSpec | None = None


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
        schema: 1.
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
        points, spec = self.operating_points, self.input
        rules = {
            f"preprocessing must be {PREPROCESSING}": self.preprocessing == PREPROCESSING,
            "input must be pixels, float32, in 0..255, of some size": (spec.name, spec.dtype) == ("pixels", "float32")
            and spec.range == [0, 255]
            and min(spec.height, spec.width) > 0,
            "labels must be two, with the positive one": len(self.labels) == 2 and self.positive in self.labels,
            "the default operating point must be one of the points": points.default in points.points,
            "thresholds must lie in 0..1": all(0 <= point.threshold <= 1 for point in points.points.values()),
            "precisions must contain fp32": "fp32" in self.precisions,
            "every precision's files must be in files": all(
                {p.file, *((p.prepared.graph, p.prepared.weights) if p.prepared else ())} <= self.files.keys()
                for p in self.precisions.values()
            ),
            "the gate's and the lungs' file must be in files": all(
                each is None or each.file in self.files for each in (self.gate, self.lungs)
            ),
            "scope's ages must be none or two, the youngest first": self.scope is None
            or not self.scope.ages
            or (len(self.scope.ages) == 2 and self.scope.ages[0] <= self.scope.ages[1]),
            "files must be plain names with a SHA-256": all(
                re.fullmatch(r"\w[\w.-]*", name) and re.fullmatch(r"[0-9a-f]{64}", record.sha256)
                for name, record in self.files.items()
            ),
        }
        for rule, holds in rules.items():
            if not holds:
                raise BundleError(f"manifest.json: {rule}; export the bundle again")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """Take in the content of ``manifest.json``.

        Raises:
            BundleError: A key is missing, has the wrong type or contradicts another, or the bundle asks for a schema
                or a preprocessing that this version does not have.
        """
        if values.get("schema") != SCHEMA:
            raise BundleError(
                f"manifest.json has schema {values.get('schema')!r}, this version reads {SCHEMA};"
                " install the cxr-edge that fits the bundle"
            )
        known = {entry.name for entry in fields(cls)} - {"extra"}
        extra = {name: value for name, value in values.items() if name not in known}
        manifest: Manifest = _build(cls, {**values, "extra": extra}, "")
        return manifest

    def to_json(self) -> dict[str, Any]:
        """Give the content of ``manifest.json``."""
        values = asdict(self)
        extra = values.pop("extra")
        return {**values, **extra}


def seal(values: dict[str, Any]) -> bytes:
    """Turn a manifest into the bytes of ``manifest.json``, with the hash of itself under the key ``seal``.

    The hash is that of the same bytes with 64 zeros in its place, so that no byte of the file can change unseen.
    """
    text = json.dumps({**values, "seal": _NO_SEAL}, indent=2, allow_nan=False) + "\n"
    return text.replace(_NO_SEAL, hashlib.sha256(text.encode()).hexdigest()).encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Read the bytes of ``manifest.json``.

    Raises:
        BundleError: They are no JSON object, or not what was sealed.
    """
    try:
        values: dict[str, Any] = json.loads(data)
        stated = values.pop("seal")
        unsealed = data.replace(stated.encode(), _NO_SEAL.encode())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleError("manifest.json is damaged or not sealed; install or export the bundle again") from error
    if hashlib.sha256(unsealed).hexdigest() != stated:
        raise BundleError("manifest.json was changed after it was sealed; install or export the bundle again")
    return values


def _build(kind: Any, value: Any, where: str) -> Any:  # the type is what the annotation says
    """Turn JSON into what an annotation of the dataclasses above asks for; keys they do not know are left aside."""
    if isinstance(kind, UnionType):  # of a dataclass and None
        if value is None:
            return None
        kind = get_args(kind)[0]
    expected = dict if is_dataclass(kind) else get_origin(kind) or kind
    if expected is float and type(value) is int:
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise BundleError(f"manifest.json: {where} is {value!r}, expected {expected.__name__}; export the bundle again")
    if is_dataclass(kind):
        for entry in fields(kind):
            if entry.name not in value and entry.default_factory is entry.default is MISSING:
                raise BundleError(f"manifest.json: {where}.{entry.name} is missing; export the bundle again")
        return kind(  # type: ignore[operator]
            **{
                entry.name: _build(entry.type, value[entry.name], f"{where}.{entry.name}".lstrip("."))
                for entry in fields(kind)
                if entry.name in value
            }
        )
    if expected is dict and is_dataclass(of := get_args(kind)[1]):
        return {name: _build(of, item, f"{where}.{name}") for name, item in value.items()}
    return value
