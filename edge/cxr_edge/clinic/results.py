"""An answer as DICOM files: a report, and what else is asked for, in the study of the radiograph."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydicom import Dataset, dcmwrite

from cxr_edge.clinic.pictures import presentation_state, secondary_capture
from cxr_edge.clinic.structured_report import structured_report
from cxr_edge.clinic.study import ResultHeader, read_source
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.files import write_atomically
from cxr_edge.results.outcomes import Answer
from cxr_edge.results.output import PRIVATE, file_mode, make_output_folder, unwritable

ReportKind = Literal["comprehensive3d", "enhanced"]
"""Which SR: Comprehensive 3D, or Enhanced for archives that know no other."""


@dataclass(frozen=True)
class ResultOptions:
    """Which DICOM objects are made of an answer.

    Attributes:
        report: The kind of the Structured Report.
        gsps: Whether an explained answer of a grey radiograph gets a Grayscale Softcopy Presentation State.
    """

    report: ReportKind = "comprehensive3d"
    gsps: bool = False


def build_results(
    source: Path | bytes,
    answer: Answer,
    *,
    explanation: Explanation | None = None,
    options: ResultOptions = ResultOptions(),
) -> list[Dataset]:
    """Build the DICOM objects of an answer.

    Args:
        source: The DICOM file that was answered, or its content.
        answer: Answered, unsure or refused.
        explanation: Of the same answer; it adds the evidence to the report, and the figure.
        options: Which objects.

    Returns:
        The Structured Report, then what else there is. The same source, bundle and options give the same objects.

    Raises:
        InputError: The source is no DICOM file (``no-dicom``), or lacks a UID to refer to (``no-reference``).
    """
    header = ResultHeader(read_source(source), answer, explanation)
    results = [structured_report(header, enhanced=options.report == "enhanced")]
    if explanation is not None:
        results.append(secondary_capture(header, explanation))
    if explanation is not None and options.gsps and (state := presentation_state(header, explanation)) is not None:
        results.append(state)
    return results


def write_results(
    source: Path | bytes,
    answer: Answer,
    folder: Path,
    *,
    explanation: Explanation | None = None,
    options: ResultOptions = ResultOptions(),
    mode: int = PRIVATE,
) -> list[Path]:
    """Write the DICOM objects of an answer, each as ``UID.dcm``; a file that is there already is the same and stays.

    Args:
        source: See `build_results`.
        answer: See `build_results`.
        folder: Where to; made if it is missing.
        explanation: See `build_results`.
        options: See `build_results`.
        mode: Permissions of the folder, if it is made.

    Returns:
        The files, the report first.

    Raises:
        InputError: See `build_results`.
        OutputError: A file cannot be written.
    """
    paths = []
    for result in build_results(source, answer, explanation=explanation, options=options):
        path = folder / f"{result.SOPInstanceUID}.dcm"
        try:
            make_output_folder(folder, mode)
            if not path.exists():
                content = BytesIO()
                dcmwrite(content, result, enforce_file_format=True)
                write_atomically(path, content.getvalue(), mode=file_mode(folder))
        except OSError as error:
            raise unwritable(path, error) from error
        paths.append(path)
    return paths
