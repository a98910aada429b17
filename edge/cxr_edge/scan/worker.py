"""Paths → records: what one thread of the pool does."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cxr_edge.api import Model
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import decode, read_content
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.journal import Index
from cxr_edge.results.outcomes import Answer, Failure
from cxr_edge.results.record import ExplanationPart, to_record
from cxr_edge.results.schema import Record
from cxr_edge.scan.parameters import Parameters
from cxr_edge.scan.pictures import write_pictures


@dataclass(frozen=True, eq=False)
class Decoded:
    """A file that was read.

    Attributes:
        path: The file.
        sha256: The hash of its content.
        radiograph: What it holds.
    """

    path: Path
    sha256: str
    radiograph: Radiograph


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one path.

    Attributes:
        path: The path.
        sha256: The hash of its content, None where none could be read.
        record: What to say about it; None where the journal says it, or another thread works on the same content.
    """

    path: Path
    sha256: str | None
    record: Record | None = None


class Worker:
    """Answers files; safe to use from several threads.

    Args:
        model: What answers.
        parameters: What is asked.
        index: What is recorded already.
        out: The output folder.
    """

    def __init__(self, model: Model, parameters: Parameters, index: Index, out: Path) -> None:
        self._model = model
        self._parameters = parameters
        self._index = index
        self._out = out
        if parameters.explain != "none":
            # Loaded before there are threads, which would load it several times over.
            _ = model.explainer.lime if parameters.explain != "gradcam" else model.explainer.gradcam
            _ = model.explainer.lungs

    def work(self, jobs: Sequence[Path | InputError]) -> list[Outcome]:
        """Read, decode, answer and explain; the readable ones of ``jobs`` go through the network together.

        Raises:
            OutputError: Pictures cannot be written.
            BundleError: The network answers NaN.
        """
        looked = [self._look(job) for job in jobs]
        decoded = [each for each in looked if isinstance(each, Decoded)]
        answers = iter(self._answers([each.radiograph for each in decoded]))
        return [self._answered(each, next(answers)) if isinstance(each, Decoded) else each for each in looked]

    def _answers(self, radiographs: list[Radiograph]) -> tuple[Answer | InputError, ...]:
        if not radiographs:
            return ()
        # Always as many as a batch holds: then an answer is the same to the last bit, whatever else runs with it.
        missing = self._parameters.batch_size - len(radiographs)
        return self._model.predict_batch(radiographs + radiographs[-1:] * missing)[: len(radiographs)]

    def _look(self, job: Path | InputError) -> Decoded | Outcome:
        if isinstance(job, InputError):
            return self._failed(Failure.of(job), None)
        try:
            data, sha256 = read(job)
        except InputError as error:
            return self._failed(Failure(job, error), None)
        # A failure is tried again: its cause, such as a decoder that was not installed, may be gone.
        if not self._index.claim(sha256) and not self._index.failed(str(job)):
            return Outcome(job, sha256)
        try:
            return Decoded(job, sha256, decode_named(data, job))
        except InputError as error:
            return self._failed(Failure(job, error), sha256)

    def _failed(self, failure: Failure, sha256: str | None) -> Outcome:
        return Outcome(failure.path, sha256, make_record(failure, sha256, self._parameters))

    def _answered(self, decoded: Decoded, answer: Answer | InputError) -> Outcome:
        if isinstance(answer, InputError):
            return self._failed(Failure(decoded.path, answer), decoded.sha256)
        asked = self._parameters
        positive = answer.label == answer.bundle.manifest.positive
        explanation, files = None, {}
        if asked.explain != "none" and not answer.refusal and (positive or asked.explain_if == "all"):
            explanation = self._model.explainer.explain(answer, method=asked.explain)
        if asked.pictures:
            files = write_pictures(self._out, decoded.sha256, answer.radiograph, explanation)
        part = explanation.to_part(files) if explanation is not None else None
        return Outcome(decoded.path, decoded.sha256, make_record(answer, decoded.sha256, asked, part))


def read(path: Path) -> tuple[bytes, str]:
    """Read a file and hash it.

    Raises:
        InputError: It cannot be read; the message names it.
    """
    try:
        data = read_content(path)
    except InputError as error:
        raise error.at(path) from error
    return data, hashlib.sha256(data).hexdigest()


def decode_named(data: bytes, path: Path) -> Radiograph:
    """Decode what a file holds.

    Raises:
        InputError: It is no radiograph; the message names the file.
    """
    try:
        return decode(data, path)
    except InputError as error:
        raise error.at(path) from error
    except Exception as error:  # noqa: BLE001  # one strange file must not end a scan of millions
        # Only the kind of exception: its text may quote what identifies somebody.
        problem = f"decoding failed inside ({type(error).__name__}); save it as PNG, and please report this"
        raise InputError(problem, kind="internal", path=path) from None


def make_record(
    outcome: Answer | Failure, sha256: str | None, parameters: Parameters, explanation: ExplanationPart | None = None
) -> Record:
    """Give the record of ``predict --json`` with the content's hash, the parameters' and the time."""
    return to_record(
        outcome, explanation=explanation, sha256=sha256, parameters=parameters.digest, time=datetime.now(UTC)
    )
