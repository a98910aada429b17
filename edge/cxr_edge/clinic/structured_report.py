"""An answer as a DICOM Structured Report: Comprehensive 3D SR (PS3.3 A.35.13), template TID 1500 (PS3.16).

It lies in the study of the radiograph, in a series of its own. It is preliminary and unverified, and says that it is
for research only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage

from cxr_edge.clinic.study import MANUFACTURER, ResultHeader, long_string
from cxr_edge.explanation.hiding import put_to_the_test
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.outcomes import Answer
from cxr_edge.results.record import RESEARCH_USE
from cxr_edge.text import plain

_LABELS = {  # of the shipped bundle; another bundle's labels get codes of our own scheme
    "PNEUMONIA": CodedConcept("233604007", "SCT", "Pneumonia"),
    "NORMAL": CodedConcept("17621005", "SCT", "Normal"),
    UNSURE: CodedConcept("373068000", "SCT", "Undetermined"),
}
_SCHEME = "99CXREDGE"


def structured_report(header: ResultHeader, *, enhanced: bool = False) -> Dataset:
    """Build the report of an answer.

    Args:
        header: The answer with its radiograph.
        enhanced: Whether an Enhanced SR (PS3.3 A.35.2) is built, for archives that know no other.
    """
    kind, sop_class = (EnhancedSR, EnhancedSRStorage) if enhanced else (Comprehensive3DSR, Comprehensive3DSRStorage)
    refusal = header.answer.refusal
    report = kind(
        evidence=[header.referenced()],
        content=_content(header)[0],
        **header.arguments("SR", sop_class),
        content_date=header.source.date,
        content_time=header.source.time,
        is_complete=refusal is None,
        is_final=False,
        is_verified=False,
    )
    report.CompletionFlagDescription = "Refused: no label." if refusal else "Answered."
    header.complete(report)
    return report


def stated_probability(answer: Answer) -> float:
    """Give the probability to four decimals, never a certainty; those that follow depend on the machine."""
    return min(max(round(float(answer.probability), 4), 0.0001), 0.9999)


def _content(header: ResultHeader) -> MeasurementReport:
    manifest, prediction = header.answer.bundle.manifest, header.answer.prediction
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=header.uid("finding"), identifier="whole radiograph"),
        algorithm_id=AlgorithmIdentification(
            name=plain(manifest.name),
            version=plain(manifest.version),
            parameters=[
                f"operating point {plain(prediction.operating_point)}",
                f"threshold {prediction.threshold:.6f}",
                f"certain from {prediction.certain_from:.6f}",
                f"precision {prediction.precision}",
                f"bundle {header.answer.bundle.digest}",
            ],
        ),
        measurements=list(_measurements(header)),
        qualitative_evaluations=[
            QualitativeEvaluation(name=codes.DCM.Finding, value=_label(header.answer)),
            QualitativeEvaluation(name=_own("scope"), value=_own(_scope(header.answer))),
        ],
        source_images=[SourceImageForMeasurementGroup(header.source.sop_class, header.source.sop_instance)],
    )
    device = DeviceObserverIdentifyingAttributes(
        uid=header.device,
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=plain(manifest.name),
        serial_number=header.answer.bundle.digest[:16],
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, device),
        ),
        procedure_reported=CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    for sentence in _sentences(header):
        item = TextContentItem(codes.DCM.Comment, sentence, RelationshipTypeValues.CONTAINS)
        content[0].ContentSequence.append(item)
    return content


def _label(answer: Answer) -> CodedConcept:
    if answer.refusal:
        return _own(f"refused: {answer.refusal.scope}")
    return _LABELS.get(answer.label) or _own(answer.label)


def _scope(answer: Answer) -> str:
    """Say whether the network knows such radiographs, as far as anybody asked."""
    if answer.refusal:
        return answer.refusal.scope
    if answer.gate_score is None:
        return "not asked"
    return "chest radiograph" if answer.prediction.scope_score is None else "in scope"


def _measurements(header: ResultHeader) -> Iterator[Measurement]:
    """Give the probability, how far small changes move it, and the evidence in the lungs; a refusal has none."""
    answer, explanation = header.answer, header.explanation
    if answer.refusal:
        return
    concept = _own(f"calibrated probability of {answer.bundle.manifest.positive}")
    yield Measurement(concept, stated_probability(answer), codes.UCUM.NoUnits)
    for end in ("lowest", "highest") if answer.spread else ():
        concept = _own(f"{end} probability of {answer.bundle.manifest.positive} under small changes")
        yield Measurement(concept, round(getattr(answer.spread, end), 4), codes.UCUM.NoUnits)
    if explanation is not None and explanation.evidence is not None:
        for name, share in explanation.evidence.shares.items():
            concept = _own(f"share of {name} for {explanation.target} in the lungs")
            yield Measurement(concept, round(share, 2), codes.UCUM.NoUnits)


def _sentences(header: ResultHeader) -> Iterator[str]:
    answer, explanation = header.answer, header.explanation
    said = [RESEARCH_USE, str(answer.refusal or _statement(answer))]
    if explanation is not None and explanation.evidence is not None:
        said += [explanation.evidence.place or "", explanation.evidence.sentence or ""]
    if explanation is not None and explanation.hidden:
        said.append(put_to_the_test(explanation.hidden, answer.probability, say="{:.4f}".format))
    said += answer.warnings if explanation is None else explanation.warnings
    for sentence in filter(None, said):
        yield plain(sentence)[:1000]


def _statement(answer: Answer) -> str:
    prediction, positive = answer.prediction, answer.bundle.manifest.positive
    called = f"called {positive} from {prediction.certain_from:.4f} on"
    if prediction.certain_from > prediction.threshold:
        called += f", {UNSURE} from {prediction.threshold:.4f} on"
    return f"{answer.label}: calibrated probability of {positive} {stated_probability(answer)}, {called}."


def _own(meaning: str) -> CodedConcept:
    """Give a concept of our own coding scheme: its code is made from its meaning."""
    return CodedConcept(hashlib.sha256(meaning.encode()).hexdigest()[:16].upper(), _SCHEME, long_string(meaning))
