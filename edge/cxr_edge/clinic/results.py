"""An answer as DICOM files: a report, and what else is asked for, in the study of the radiograph."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydicom import Dataset, dcmwrite

from cxr_edge.api import Model
from cxr_edge.clinic.pictures import presentation_state, secondary_capture
from cxr_edge.clinic.structured_report import structured_report
from cxr_edge.clinic.study import ResultHeader, read_source
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.files import write_atomically
from cxr_edge.results.index import Parameters
from cxr_edge.results.outcomes import Answer, Failure, attempt
from cxr_edge.results.output import PRIVATE, file_mode, make_folder_below, make_output_folder, unwritable
from cxr_edge.results.schema import Failed, Record
from cxr_edge.scan.pipeline import explain_as_asked

_MADE = ".made"  # folder of empty files, named by what was answered and how
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


class ResultSink:
    """Writes the DICOM results of a scan, also of what was answered before without them; a `AnswerSink`.

    Attributes:
        failures: DICOM inputs that have an answer and no result, with the reason.

    Args:
        folder: Where to; made if it is missing. It remembers what it was given, so that results may be moved away.
        model: What answers and explains.
        parameters: What the scan asks.
        options: Which objects.
        mode: Permissions of the folder, if it is made.
    """

    def __init__(
        self, folder: Path, model: Model, parameters: Parameters, *, options: ResultOptions, mode: int = PRIVATE
    ) -> None:
        self.failures: list[Failure] = []
        self._folder, self._model, self._asked, self._options, self._mode = folder, model, parameters, options, mode
        self._fresh: dict[Path, bool] = {}

    def write(self, path: Path, answer: Answer, explanation: Explanation | None = None) -> None:
        """Write the results of an answer; a picture that is no DICOM file has no study to lie in.

        Raises:
            OutputError: They cannot be written.
        """
        if answer.radiograph.source.format != "DICOM":
            return
        done = attempt(
            path,
            lambda: write_results(
                path, answer, self._folder, explanation=explanation, options=self._options, mode=self._mode
            ),
        )
        if isinstance(done, Failure):
            self.failures.append(done)
        self._fresh[path] = not isinstance(done, Failure)

    def make_up(self, record: Record) -> None:
        """Write the results of a record that has none yet.

        Raises:
            OutputError: They cannot be written.
        """
        if isinstance(record, Failed) or record.source.format != "DICOM" or not record.sha256:
            return
        path = Path(record.path or "")
        key = f"{record.sha256}-{self._asked.digest}-{self._options.report}-{self._options.gsps}"
        mark = self._folder / _MADE / key[:2] / key
        try:
            if path not in self._fresh and mark.exists():
                return
            if path not in self._fresh:
                answer = attempt(path, lambda: self._model.predict(path))
                if isinstance(answer, Failure):
                    return
                self.write(path, answer, explain_as_asked(self._model, answer, self._asked))
            if self._fresh.pop(path):
                make_folder_below(self._folder, mark.parent.relative_to(self._folder))
                mark.touch()
        except OSError as error:
            raise unwritable(mark, error) from error
