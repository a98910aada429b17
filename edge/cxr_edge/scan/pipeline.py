"""Paths in, records out, in order and with a bounded number in work."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from cxr_edge.api import Model
from cxr_edge.errors import InputError
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.reading.decode import decode, read_content
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.index import Parameters, State
from cxr_edge.results.journal import Journal
from cxr_edge.results.outcomes import Answer, Failure, attempt
from cxr_edge.results.record import rename, to_record
from cxr_edge.results.schema import Record
from cxr_edge.scan.annotated import AnswerSink
from cxr_edge.scan.folder import lacks_pictures, write_known_pictures, write_pictures
from cxr_edge.scan.progress import Tally

_AHEAD = 4  # batches in work or waiting, for each worker: enough that one slow file does not idle the others
# Inputs of one run of the network. The last digits of an answer depend on how many run together, not on which: every
# run of a scan therefore has the same number, and a batch of fewer inputs is filled up by no more than this.
_RUN_ON_CPU, _RUN_ON_DEVICE = 4, 16


@dataclass(frozen=True, eq=False)
class Content:
    """A file that was read.

    Attributes:
        path: The file.
        data: What is in it.
        sha256: The hash of that.
    """

    path: Path
    data: bytes
    sha256: str


@dataclass(frozen=True, eq=False)
class Decoded:
    """A file that was decoded.

    Attributes:
        path: The file.
        sha256: The hash of its content.
        radiograph: What it holds.
    """

    path: Path
    sha256: str
    radiograph: Radiograph


@dataclass(frozen=True, eq=False)
class Finished:
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
        journal: What is recorded already; None where nobody knows, so that every file is answered.
        out: The output folder.
        pictures: Whether pictures are written for the report.
        sinks: What else is made of the answers.
    """

    def __init__(
        self,
        model: Model,
        parameters: Parameters,
        journal: Journal | None,
        out: Path,
        *,
        pictures: bool,
        sinks: Sequence[AnswerSink] = (),
    ) -> None:
        self.sinks = sinks
        self._model = model
        self._parameters = parameters
        self._journal = journal
        self._out = out
        self._pictures = pictures
        self._run = min(parameters.batch_size, _RUN_ON_CPU if parameters.provider == "cpu" else _RUN_ON_DEVICE)
        if parameters.explain != "none":
            model.explainer.prepare(parameters.explain)

    def work(self, jobs: Sequence[Path | InputError]) -> list[Finished]:
        """Read, decode, answer and explain; whatever one of the files does to that, the others are answered.

        Raises:
            OutputError: Pictures cannot be written.
            BundleError: The network answers NaN.
        """
        looked = [self._look(job) for job in jobs]
        decoded = [each for each in looked if isinstance(each, Decoded)]
        runs = (decoded[start : start + self._run] for start in range(0, len(decoded), self._run))
        answers = iter([answer for run in runs for answer in self._answer(run)])
        return [self._finish(each, next(answers)) if isinstance(each, Decoded) else each for each in looked]

    def _look(self, job: Path | InputError) -> Decoded | Finished:
        if isinstance(job, InputError):
            return self._failed(Failure.of(job), None)
        content = attempt(job, lambda: read(job))
        if isinstance(content, Failure):
            return self._failed(content, None)
        if self._journal is not None and self._is_known(self._journal, content):
            self._draw_known(self._journal, content)
            return Finished(job, content.sha256)
        radiograph = attempt(job, lambda: decode(content.data, job))
        if isinstance(radiograph, Failure):
            return self._failed(radiograph, content.sha256)
        return Decoded(job, content.sha256, radiograph)

    def _is_known(self, journal: Journal, content: Content) -> bool:
        # A failure is tried again: its cause, such as a decoder that was not installed, may be gone.
        return not journal.index.claim(content.sha256) and not journal.index.failed(str(content.path))

    def _answer(self, run: Sequence[Decoded]) -> Sequence[Answer | Failure]:
        radiographs = [each.radiograph for each in run]
        filled = radiographs + radiographs[-1:] * (self._run - len(radiographs))
        answers = attempt(run[0].path, lambda: self._model.predict_batch(filled)[: len(run)])
        if not isinstance(answers, Failure):
            done = zip(run, answers, strict=True)
            return [Failure(each.path, one) if isinstance(one, InputError) else one for each, one in done]
        return [answers] if len(run) == 1 else [answer for each in run for answer in self._answer([each])]

    def _finish(self, decoded: Decoded, answer: Answer | Failure) -> Finished:
        done = answer if isinstance(answer, Failure) else attempt(decoded.path, lambda: self._record(decoded, answer))
        if isinstance(done, Failure):
            return self._failed(done, decoded.sha256)
        return Finished(decoded.path, decoded.sha256, done)

    def _record(self, decoded: Decoded, answer: Answer) -> Record:
        asked, files = self._parameters, {}
        explanation = explain_as_asked(self._model, answer, asked)
        if self._pictures:
            files = write_pictures(self._out, decoded.sha256, answer.radiograph, explanation)
        for sink in self.sinks:
            sink.write(decoded.path, answer, explanation)
        return to_record(
            answer,
            explanation=explanation.to_part(files) if explanation is not None else None,
            sha256=decoded.sha256,
            parameters=asked.digest,
            time=datetime.now(UTC),
        )

    def _failed(self, failure: Failure, sha256: str | None) -> Finished:
        return Finished(failure.path, sha256, failed_record(failure, sha256, self._parameters))

    def _draw_known(self, journal: Journal, content: Content) -> None:
        """Make up for pictures that were not asked for when a content was answered; a failure leaves it without."""
        if self._pictures and lacks_pictures(self._out, content.sha256):
            record = journal.record_of(content.sha256)
            if record is not None:
                attempt(content.path, lambda: write_known_pictures(self._out, record, decode(content.data)))


def explain_as_asked(model: Model, answer: Answer, asked: Parameters) -> Explanation | None:
    """Explain an answer, if it is one of those that are to be explained."""
    positive = answer.prediction.probability >= answer.prediction.threshold
    if asked.explain == "none" or answer.refusal or not (positive or asked.explain_if == "all"):
        return None
    return model.explainer.explain(answer, method=asked.explain)


def read(path: Path) -> Content:
    """Read a file and hash it.

    Raises:
        InputError: It cannot be read.
    """
    data = read_content(path)
    return Content(path, data, hashlib.sha256(data).hexdigest())


def failed_record(failure: Failure, sha256: str | None, parameters: Parameters) -> Record:
    """Give the record of an input that could not be answered."""
    return to_record(failure, sha256=sha256, parameters=parameters.digest, time=datetime.now(UTC))


class Pipeline:
    """Answers paths with a pool of threads and writes what comes back.

    Args:
        worker: Answers batches.
        journal: Takes the records.
        workers: Threads.
        batch_size: Paths that are taken together.
        stop: Set from elsewhere to end early: what is in work is finished and recorded, nothing more begun.
        report: Called with the counts after every record, and at every pause.
    """

    def __init__(
        self,
        worker: Worker,
        journal: Journal,
        *,
        workers: int,
        batch_size: int,
        stop: Event,
        report: Callable[[Tally], None],
    ) -> None:
        self.tally = Tally()
        self._worker = worker
        self._journal = journal
        self._workers = workers
        self._batch_size = batch_size
        self._stop = stop
        self._report = report
        # Contents that two paths share while the first is still in work.
        self._waiting: defaultdict[str | None, list[Path]] = defaultdict(list)

    def run(self, paths: Iterable[Path | InputError | None]) -> Tally:
        """Answer everything.

        Args:
            paths: What to answer; None where nothing more is there for now, so that what is done gets written.

        Returns:
            The counts of this run, with what it found in the journal.

        Raises:
            OutputError: The journal or pictures cannot be written.
            BundleError: The network answers NaN.
        """
        pending: deque[Future[list[Finished]]] = deque()
        batch: list[Path | InputError] = []
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for path in paths:
                    if self._stop.is_set():
                        break
                    if path is not None:
                        batch.append(path)
                    if len(batch) == self._batch_size or (path is None and batch):
                        pending.append(pool.submit(self._worker.work, batch))
                        batch = []
                    while pending and (pending[0].done() or len(pending) > _AHEAD * self._workers):
                        self._write(pending.popleft().result())
                    if path is None:
                        self._journal.sync()
                        self._report(self.tally)
                if batch and not self._stop.is_set():
                    pending.append(pool.submit(self._worker.work, batch))
                for future in pending:
                    if not (self._stop.is_set() and future.cancel()):
                        self._write(future.result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self.tally

    def _write(self, outcomes: Sequence[Finished]) -> None:
        for outcome in outcomes:
            record = outcome.record
            if record is None and outcome.sha256 is not None:
                record = self._journal.record_of(outcome.sha256)
                if record is None:
                    self._waiting[outcome.sha256].append(outcome.path)
                    continue
            if record is not None:
                for path in (outcome.path, *self._waiting.pop(outcome.sha256, ())):
                    self._add(rename(record, path))

    def _add(self, record: Record) -> None:
        """Write a record, unless the journal says the same of the path already."""
        path, state = str(record.path), State.of(record)
        for sink in self._worker.sinks:
            sink.make_up(record)
        known = self._journal.index.state(path) == state
        if not known:
            self._journal.append(record)
        self.tally.count(state, before=self._journal.index.count(path, state), known=known)
        self._report(self.tally)
