"""An answer as a DICOM Structured Report: Comprehensive 3D SR (PS3.3 A.35.13), template TID 1500 (PS3.16).

The report lies in the study of the radiograph, in a series of its own. Its UIDs are made from the UID of the
radiograph, the bundle and what was asked, so that the same answer is the same object. It is preliminary and unverified,
and says that it is for research only.
"""

import hashlib
import re
import warnings
from pathlib import Path

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
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
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes

from cxr_edge import __version__
from cxr_edge.errors import InputError, OutputError
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.outcomes import Answer
from cxr_edge.results.output import make_output_folder
from cxr_edge.results.record import RESEARCH_USE
from cxr_edge.text import printable

MANUFACTURER = "cxr-edge"
SERIES_DESCRIPTION = "cxr-edge: research use only"
SERIES_NUMBER = 9901
_SCHEME = "99CXREDGE"
_LABELS = {  # of the shipped bundle; another bundle's labels get codes of our own scheme
    "PNEUMONIA": CodedConcept("233604007", "SCT", "Pneumonia"),
    "NORMAL": CodedConcept("17621005", "SCT", "Normal"),
    UNSURE: CodedConcept("373068000", "SCT", "Undetermined"),
}
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_CARRIED = (  # Type 2 in the report: empty where the radiograph has none
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_OPTIONAL = ("IssuerOfPatientID", "SpecificCharacterSet")
_SEXES = {"M", "F", "O", ""}


def write_report(answer: Answer, folder: Path) -> Path:
    """Write the report of an answer, as ``UID.dcm``; one that is there already is the same and stays.

    Args:
        answer: Of a DICOM file: answered, unsure or refused.
        folder: Where to; made if it is missing.

    Returns:
        The file.

    Raises:
        InputError: The radiograph is no DICOM file, or lacks a UID that a report has to refer to.
        OutputError: The file cannot be written.
    """
    report = structured_report(answer)
    path = folder / f"{report.SOPInstanceUID}.dcm"
    partial = folder / f".{path.name}.partial"
    try:
        make_output_folder(folder)
        if not path.exists():
            report.save_as(partial, enforce_file_format=True)
            partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        problem = f"cannot be written ({error.strerror})"
        raise OutputError(problem, cure="check permissions and space", path=path) from error
    return path


def structured_report(answer: Answer) -> Comprehensive3DSR:
    """Build the report of an answer.

    Raises:
        InputError: See `write_report`.
    """
    source = _source(answer.radiograph.source.path)
    seed = f"{source.SOPInstanceUID} {answer.bundle.digest} {answer.prediction.to_json()} {answer.refusal}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's, about values of the source that are legal
        report = Comprehensive3DSR(
            evidence=[source],
            content=_content(answer, source, seed)[0],
            series_instance_uid=_uid(f"series {source.StudyInstanceUID} {answer.bundle.digest}"),
            series_number=SERIES_NUMBER,
            series_description=SERIES_DESCRIPTION,
            sop_instance_uid=_uid(seed),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=answer.bundle.manifest.name,
            software_versions=__version__,
            device_serial_number=answer.bundle.digest[:16],
            is_complete=answer.refusal is None,
            is_final=False,
            is_verified=False,
        )
    report.CompletionFlagDescription = "Refused: no label." if answer.refusal else "Answered."
    report.PreliminaryFlag = "PRELIMINARY"
    for keyword in _OPTIONAL:
        if keyword in source:
            setattr(report, keyword, source[keyword].value)
    return report


def _content(answer: Answer, source: Dataset, seed: str) -> MeasurementReport:
    manifest, prediction, refusal = answer.bundle.manifest, answer.prediction, answer.refusal
    device = DeviceObserverIdentifyingAttributes(
        uid=_uid(f"device {answer.bundle.digest}"),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=manifest.name,
        serial_number=answer.bundle.digest[:16],
    )
    label = _own(f"refused: {refusal.scope}") if refusal else _LABELS.get(answer.label, _own(answer.label))
    probability = _own(f"calibrated probability of {manifest.positive}")
    measured = (
        [] if refusal else [Measurement(probability, round(float(prediction.probability), 6), codes.UCUM.NoUnits)]
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=_uid(f"finding {seed}"), identifier="whole radiograph"),
        algorithm_id=AlgorithmIdentification(
            name=manifest.name,
            version=manifest.version,
            parameters=[
                f"operating point {prediction.operating_point}",
                f"threshold {prediction.threshold:.6f}",
                f"certain from {prediction.certain_from:.6f}",
                f"precision {prediction.precision}",
                f"bundle {answer.bundle.digest}",
            ],
        ),
        measurements=measured,
        qualitative_evaluations=[QualitativeEvaluation(name=codes.DCM.Finding, value=label)],
        source_images=[SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, device),
        ),
        procedure_reported=CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    spoken = [RESEARCH_USE, *([str(refusal)] if refusal else []), *answer.warnings]
    for text in spoken:
        item = TextContentItem(codes.DCM.Comment, printable(text)[:1000], RelationshipTypeValues.CONTAINS)
        content[0].ContentSequence.append(item)
    return content


def _source(path: Path | None) -> Dataset:
    """What the report takes over from the radiograph, with nothing in it that the standard does not allow."""
    cure = "answer a DICOM file, or leave --dicom-out out"
    if path is None:
        raise InputError("no DICOM file, which a DICOM result has to refer to", kind="no-dicom", cure=cure)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dcmread(path, stop_before_pixels=True, force=False)
    except (InvalidDicomError, OSError, AttributeError, ValueError) as error:
        problem = "no DICOM file, which a DICOM result has to refer to"
        raise InputError(problem, kind="no-dicom", cure=cure, path=path) from error
    kept = Dataset()
    for keyword in _REQUIRED:
        uid = str(found.get(keyword, ""))
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid) or len(uid) > 64:
            problem = f"has no valid {keyword}, which a DICOM result has to refer to"
            raise InputError(problem, kind="no-reference", cure="repair the file at its source", path=path)
        setattr(kept, keyword, uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword in (*_CARRIED, *_OPTIONAL):
            value = found.get(keyword)
            if keyword in _CARRIED or value:
                setattr(kept, keyword, value if _is_valid(keyword, value) else "")
    return kept


def _is_valid(keyword: str, value: object) -> bool:
    if value is None:
        return False
    if keyword == "PatientSex":
        return str(value) in _SEXES
    if keyword.endswith("Date"):
        return re.fullmatch(r"\d{8}", str(value)) is not None
    if keyword.endswith("Time"):
        return re.fullmatch(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", str(value)) is not None
    return True


def _own(meaning: str) -> CodedConcept:
    """Give a concept of our own coding scheme: its code is made from its meaning."""
    return CodedConcept(hashlib.sha256(meaning.encode()).hexdigest()[:16].upper(), _SCHEME, meaning[:64])


def _uid(seed: str) -> str:
    """Give the UID that belongs to a text (PS3.5 annex B.2: below 2.25, from 128 bits)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16])}"
