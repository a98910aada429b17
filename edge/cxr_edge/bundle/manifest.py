"""What a bundle says about itself: the content of its ``manifest.json``.

The classes are msgspec's: it checks every element's type when it reads them, and defining them costs next to nothing,
where fifteen dataclasses are a twentieth of the time that a prediction takes from nothing.
"""

import hashlib
import re
from typing import Any

import msgspec

from cxr_edge.bundle.rules import rules_of
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
_NO_SEAL = "0" * 64
_CURE = "install or export the bundle again"


class Part(msgspec.Struct, frozen=True):
    """A part of a manifest."""

    def to_json(self) -> dict[str, Any]:
        """Give its content as it stands in ``manifest.json``."""
        return msgspec.to_builtins(self)


class InputSpec(Part, frozen=True):
    """What the graph takes: grey values [N, height, width] within ``range``."""

    name: str
    height: int
    width: int
    dtype: str
    range: list[float]


class FeatureSpec(Part, frozen=True):
    """The shape of a convolutional map."""

    height: int
    width: int
    channels: int


class Calibration(Part, frozen=True, omit_defaults=True):
    """probability = sigmoid(scale · log-odds + bias), already inside the graph.

    It takes for granted that a share ``prevalence`` has the positive label; None where nobody stated it.
    """

    method: str
    scale: float
    bias: float
    chosen_on: str
    prevalence: float | None = None


class OperatingPoint(Part, frozen=True, omit_defaults=True):
    """Thresholds on the calibrated probability, with the recall and specificity where they were chosen.

    The label is the other one below ``threshold``, the positive one from ``certain_from`` on, and ``UNSURE`` between
    the two; None leaves no such gap. ``guarantee`` is what it promises of further patients, with which confidence.
    """

    threshold: float
    criterion: str
    chosen_on: str
    recall: float
    specificity: float
    certain_from: float | None = None
    guarantee: dict[str, Any] = {}

    @property
    def upper(self) -> float:
        """The probability from which on the label is the positive one."""
        return self.threshold if self.certain_from is None else self.certain_from


class OperatingPoints(Part, frozen=True):
    """Thresholds by name, and the name of the one that is used unless another is asked for."""

    default: str
    points: dict[str, OperatingPoint]


class Precision(Part, frozen=True):
    """A classifier file, and what its answers lose against float32."""

    file: str
    loss: dict[str, Any] = {}


class ScopeDetector(Part, frozen=True):
    """What tells the radiographs that the network knows from those of elsewhere; a second output of the gate's graph.

    Above the log-odds ``threshold`` there is no label. ``measured``: shares refused of those that it should know and
    labelled of the others, by kind and source.
    """

    threshold: float
    method: str
    chosen_on: str
    measured: dict[str, Any] = {}


class GateSpec(Part, frozen=True):
    """The graph that scores how unlike a chest radiograph an input is; above the threshold it is refused.

    ``scope`` tells whose radiograph it is; None where the graph has no such output.
    """

    file: str
    threshold: float
    method: str
    chosen_on: str
    scope: ScopeDetector | None = None


class LungSpec(Part, frozen=True):
    """The graph that outlines the lungs, with its mean Dice coefficient against outlines that people drew."""

    file: str
    dice: float
    measured_on: str
    training: dict[str, Any] = {}


class LayerCamSpec(Part, frozen=True):
    """The file that continues the fp32 classifier with maps of its answer, and their layers, coarse to fine."""

    file: str
    layers: list[FeatureSpec]


class SelfTestSpec(Part, frozen=True):
    """The file of the inputs and expected outputs that the bundle carries, and what computed each output, by name."""

    file: str
    computed_by: dict[str, str]


class Scope(Part, frozen=True):
    """Whose radiographs the network was trained on; an empty list sets no limit.

    ``ages`` are youngest and oldest, in completed years; ``views`` and ``body_parts`` are values of DICOM View Position
    (0018,5101) and Body Part Examined (0018,0015).
    """

    ages: list[float]
    views: list[str]
    body_parts: list[str]


class FileRecord(Part, frozen=True):
    """The identity of one file of the bundle."""

    sha256: str
    bytes: int


class Manifest(Part, frozen=True):
    """The parsed ``manifest.json``.

    Attributes:
        schema: See `SCHEMA`.
        name: The bundle's name, which ``version`` goes with.
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
        layercam: What maps the answer at several layers; None leaves it at the last one.
        scope: Whose radiographs it was trained on; None leaves it at frontal chest radiographs.
        self_test: What its expected outputs were computed by; None where nobody wrote it down.
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
    layercam: LayerCamSpec | None = None
    scope: Scope | None = None
    self_test: SelfTestSpec | None = None
    audit: dict[str, Any] | None = None
    extra: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Check what types cannot say; a rule that is broken is a `BundleError`."""
        known = f"preprocessing must be {PREPROCESSING}", self.preprocessing == PREPROCESSING
        for rule, holds in (known, *rules_of(self)):
            if not holds:
                raise BundleError(f"manifest.json: {rule}", cure=_CURE)

    @property
    def input_shape(self) -> tuple[None, int, int]:
        """The shape of a batch of inputs; None is for their number."""
        return (None, self.input.height, self.input.width)

    @property
    def feature_shape(self) -> tuple[None, int, int, int]:
        """The shape of a batch of feature maps."""
        return (None, self.features.height, self.features.width, self.features.channels)

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
            raise BundleError(f"manifest.json is damaged ({error})", cure=_CURE) from error
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
            stated, readable = ascii(values.get("schema"))[:20], " and ".join(map(str, READABLE))
            raise BundleError(
                f"manifest.json has schema {stated}, this version reads {readable}",
                cure="install the cxr-edge that fits the bundle",
            )
        known = {*cls.__struct_fields__} - {"extra"}
        extra = {name: value for name, value in values.items() if name not in known}
        try:
            return msgspec.convert({**values, "extra": extra}, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BundleError(f"manifest.json: {error}", cure=_CURE) from error

    def to_json(self) -> dict[str, Any]:
        """Give the content of ``manifest.json``."""
        values = super().to_json()
        return values | values.pop("extra")


def _check_seal(stated: Any, data: bytes) -> None:
    """Check the hash that a manifest of schema 1 states of itself, with 64 zeros in the place of that hash.

    Raises:
        BundleError: There is none, or it is another.
    """
    if not isinstance(stated, str) or not re.fullmatch(r"[0-9a-f]{64}", stated):
        raise BundleError("manifest.json is of schema 1 but not sealed", cure=_CURE)
    if hashlib.sha256(data.replace(stated.encode(), _NO_SEAL.encode())).hexdigest() != stated:
        raise BundleError("manifest.json was changed after it was sealed", cure=_CURE)
