"""Paths in, records out, in order and with a bounded number in work."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

from cxr_edge.errors import InputError
from cxr_edge.results.journal import Journal, State
from cxr_edge.results.record import rename
from cxr_edge.results.schema import Record
from cxr_edge.scan.tally import Tally
from cxr_edge.scan.worker import Outcome, Worker

_AHEAD = 4  # batches in work or waiting, for each worker: enough that one slow file does not idle the others


class Pipeline:
    """Answers paths with a pool of threads and writes what comes back.

    Args:
        worker: Answers batches.
        journal: Takes the records.
        workers: Threads.
        batch_size: Paths that go through the network together.
        stop: Set from elsewhere to end early: what is in work is finished and recorded, nothing more begun.
        report: Called with the counts after every record.
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
        pending: deque[Future[list[Outcome]]] = deque()
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
                if batch and not self._stop.is_set():
                    pending.append(pool.submit(self._worker.work, batch))
                for future in pending:
                    if not (self._stop.is_set() and future.cancel()):
                        self._write(future.result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self.tally

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            record = outcome.record
            if record is None and outcome.sha256 is not None:
                record = self._journal.record_of(outcome.sha256)
                if record is None:
                    self._waiting[outcome.sha256].append(outcome.path)
                    continue
            if record is not None:
                for path in (outcome.path, *self._waiting.pop(outcome.sha256, ())):
                    self._record(rename(record, path))

    def _record(self, record: Record) -> None:
        """Write a record, unless the journal says the same of the path already."""
        state = State.of(record)
        known = self._journal.index.state(str(record.path)) == state
        if not known:
            self._journal.append(record)
        self.tally.count(state, known=known)
        self._report(self.tally)
