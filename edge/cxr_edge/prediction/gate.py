"""Is it a chest radiograph, and one of those that the network knows? By its descriptor, and by what its file states."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.manifest import Scope
from cxr_edge.reading.radiograph import Source
from cxr_edge.runtime.networks import DESCRIPTOR, gate_outputs, open_gate

# Radiography under its present and its former names (PS3.3 C.7.3.1.1.1); OT and SC say how a film was digitized, not
# what is on it.
_RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RG", "OT", "SC"})
_SIDEWAYS = frozenset({"LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAT", "LATERAL"})
# A bundle that states no scope is still one for frontal chest radiographs.
_CHEST = Scope(ages=[], views=["AP", "PA"], body_parts=["CHEST", "THORAX", "LUNG"])


def scope_warnings(source: Source, scope: Scope | None) -> tuple[str, ...]:
    """Say what a file states that speaks against asking this network.

    What a file does not state gives no reason for a warning: photographs and most PNGs state nothing. A frontal view
    from the other side counts as another view: AP enlarges the heart and lays the shoulder blades over the lungs, PA
    does neither. View and body part may be stated as text and by code; each is compared.

    Args:
        source: Of the radiograph.
        scope: Of the bundle; None rules out what is no frontal chest radiograph.

    Returns:
        One sentence for each attribute, with its tag and its value.
    """
    limits = scope or _CHEST
    made = "the network was trained on" if scope else "the network is made for"
    warnings = []
    if source.modality and not _has_words_of(source.modality, _RADIOGRAPHY):
        warnings.append(f"Modality (0008,0060) is {source.modality}: {made} radiographs.")
    if source.body_part and limits.body_parts and not _has_words_of(source.body_part, limits.body_parts):
        parts = _listed(limits.body_parts)
        warnings.append(f"BodyPartExamined (0018,0015) is {source.body_part}: {made} {parts}.")
    view = source.view_position
    if view and limits.views and not _has_words_of(view, limits.views, but_not=_SIDEWAYS - {*limits.views}):
        warnings.append(f"ViewPosition (0018,5101) is {view}: {made} {_listed(limits.views)} views.")
    if source.anatomic_region and limits.body_parts and not _is_part(source.anatomic_region, limits.body_parts):
        parts = _listed(limits.body_parts)
        warnings.append(f"AnatomicRegionSequence (0008,2218) is {source.anatomic_region}: {made} {parts}.")
    if source.view_code and limits.views and not _is_view(source.view_code, limits.views):
        views = _listed(limits.views)
        warnings.append(f"ViewCodeSequence (0054,0220) is {source.view_code}: {made} {views} views.")
    years = source.patient_age_years
    if years is not None and limits.ages and not limits.ages[0] <= int(years) <= limits.ages[1]:
        warnings.append(f"{_age(source)}: {made} {_patients(limits.ages)}.")
    return tuple(warnings)


def _has_words_of(stated: str, expected: Iterable[str], *, but_not: AbstractSet[str] = frozenset()) -> bool:
    """Say whether every value of an attribute has an expected word, as ``PORT CHEST`` or ``AP_SUPINE`` have."""
    words = [{value, *re.split(r"[ _]+", value)} for value in stated.split("\\")]
    return all(each & {*expected} and not each & but_not for each in words)


def _is_part(coded: str, expected: Iterable[str]) -> bool:
    """Say whether a coded body part is an expected one; the standard has one code for chest and thorax."""
    return coded.upper() in expected or (coded == "CHEST" and "THORAX" in expected)


def _is_view(coded: str, expected: Iterable[str]) -> bool:
    """Say whether a coded view is an expected one; ``frontal`` may be either side."""
    return coded in expected or (coded == "frontal" and bool({"AP", "PA"} & {*expected}))


def _age(source: Source) -> str:
    if source.patient_age_stated is not None:
        return f"PatientAge (0010,1010) is {source.patient_age_stated}"
    return f"PatientBirthDate (0010,0030) and StudyDate (0008,0020) give an age of {source.patient_age_years:g} years"


def _patients(ages: list[float]) -> str:
    who = "children" if ages[1] < 18 else "patients"
    return f"{who} of {ages[0]:g} to {ages[1]:g} years"


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


@dataclass(frozen=True, eq=False)
class GateScores:
    """What the gate says of N inputs.

    Attributes:
        distance: float32 [N], the larger the less like a chest radiograph.
        elsewhere: float32 [N], log-odds that the radiograph is not one of those that the network knows; None where
            the bundle cannot tell.
    """

    distance: NDArray[np.float32]
    elsewhere: NDArray[np.float32] | None


class Gate:
    """The graph of a bundle that scores how unlike the radiographs an input is that the network knows.

    Args:
        bundle: An opened bundle with a gate.

    Raises:
        BundleError: The bundle has none, or ONNX Runtime cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._session = open_gate(bundle)
        self._outputs = gate_outputs(bundle)

    def scores(self, descriptors: NDArray[np.float32]) -> GateScores:
        """Score descriptors float32 [N, D] of N inputs."""
        distance, *rest = self._session.run({DESCRIPTOR: descriptors}, self._outputs)
        return GateScores(distance, rest[0] if rest else None)
