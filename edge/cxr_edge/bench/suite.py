"""Opens every network that was asked for, makes the runs of its cases, measures them and puts the figures together."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model
from cxr_edge.bench.cases import BenchInputs, Case, CaseSelection, SessionChoice, check_words
from cxr_edge.bench.measure import Figures, Rule, Run, measure
from cxr_edge.bench.report import BenchReport, MeasuredBundle
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import CxrEdgeError, InputError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.results.record import to_line
from cxr_edge.runtime.machine import Machine
from cxr_edge.runtime.providers import BF16
from cxr_edge.runtime.sessions import Provider

BeforeCase = Callable[[str, int, int], None]
"""Called with what is measured next, how many cases are done and how many there are."""
Item = TypeVar("Item")
_PROCESS_RUNS = 3  # of a window: a process takes so long that three fill more than the least time of one


class Suite:
    """Opened networks with the cases to measure.

    Args:
        sessions: Which sessions to open.
        selection: What to measure with each.
        bundle: Folder of a bundle; None takes the installed one.

    Raises:
        UsageError: Options that make no sense.
        ProviderError: A provider does not start: nothing is measured without it.
        BundleError: The bundle is missing or was changed.
    """

    def __init__(self, sessions: SessionChoice, selection: CaseSelection, *, bundle: Path | None = None) -> None:
        self.bundle = Bundle.open(bundle)
        self._folder = bundle
        self._plan: dict[Case, tuple[Provider, Model]] = {}
        precisions = sessions.precisions
        if precisions is None:
            precisions = tuple(name for name in self.bundle.manifest.precisions if name != BF16)  # not everywhere
        check_words("precision", precisions, dict.fromkeys((*self.bundle.manifest.precisions, BF16)))
        known: dict[str, Provider] = {word: word for word in get_args(Provider)}
        for provider in sessions.providers:
            for threads in sessions.threads:
                for precision in precisions:
                    self._open(known[provider], threads, precision, selection)

    def _open(self, provider: Provider, threads: int | None, precision: str, selection: CaseSelection) -> None:
        model = Model(Classifier(self.bundle, provider=provider, threads=threads, precision=precision))
        session = model.classifier.session
        for case in selection.cases(provider=session.provider, precision=precision, threads=session.threads):
            self._plan.setdefault(case, (provider, model))  # auto may be what was named as well

    @property
    def cases(self) -> tuple[Case, ...]:
        """What is going to be measured, task by task."""
        order = {task: number for number, task in enumerate(dict.fromkeys(case.task for case in self._plan))}
        return tuple(sorted(self._plan, key=lambda case: (order[case.task], case.scope != "session")))

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each provider is the one that computes."""
        sessions = [model.classifier.session for _, model in self._plan.values()]
        return {session.provider: session.reason for session in sessions}

    def run(self, inputs: BenchInputs, machine: Machine, *, rule: Rule, before_case: BeforeCase) -> BenchReport:
        """Measure every case.

        Args:
            inputs: What to answer.
            machine: What is said about the machine.
            rule: When figures count as settled.
            before_case: Called before each case.
        """
        spec = self.bundle.manifest.input
        images = [to_input(each, height=spec.height, width=spec.width) for each in inputs.radiographs]
        figures: dict[Case, Figures] = {}
        cases = self.cases
        for number, case in enumerate(cases):
            before_case(str(case), number, len(cases))
            provider, model = self._plan[case]
            runs: tuple[Run, ...]
            if case.task == "start":
                runs = (process_run(case, inputs.files[0], bundle=self._folder, provider=provider),)
            elif case.scope == "file":
                runs = tuple(file_run(model, case.task, batch) for batch in _batches(inputs.files, case.batch_size))
            else:
                batches = _batches(images, case.batch_size)
                runs = tuple(input_run(model, case.task, np.stack(batch)) for batch in batches)
            applied = replace(rule, window_runs=_PROCESS_RUNS) if case.task == "start" else rule
            figures[case] = measure(runs, rule=applied, radiographs=case.batch_size)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        bundle = MeasuredBundle(self.bundle.manifest.name, self.bundle.manifest.version, self.bundle.digest)
        return BenchReport(created, bundle, machine, inputs.summary, rule, figures)


def _batches(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    """Cut items into batches of a size; the last is filled up from the first items."""
    return [
        tuple(items[index % len(items)] for index in range(start, start + size)) for start in range(0, len(items), size)
    ]


def input_run(model: Model, task: str, inputs: NDArray[np.float32]) -> Run:
    """Make the run from ready inputs to numbers.

    Here and in `file_run`, explanations speak for the positive label whatever the answer: every network then does the
    same work.

    Args:
        model: The network.
        task: ``predict``, ``gradcam`` or ``lime``; the last two explain the first input.
        inputs: float32 [N, height, width] in 0..255, from `to_input`.
    """
    classifier, target = model.classifier, model.bundle.manifest.positive
    if task == "predict":
        return lambda: classifier.predict(inputs)
    explainer = model.explainer
    if task == "lime":
        return lambda: explainer.lime.explain(inputs[0], target)
    return lambda: explainer.gradcam.explain(classifier.predict(inputs)[0].features, target)


def file_run(model: Model, task: str, files: Sequence[Path]) -> Run:
    """Make the run from files to the lines of JSON that are their records.

    Args:
        model: The network.
        task: As for `input_run`.
        files: A batch.
    """
    target = model.bundle.manifest.positive

    def predict() -> list[str]:
        lines = []
        for answer in model.predict_batch([read_radiograph(file) for file in files]):
            if isinstance(answer, InputError):
                raise answer  # nothing is measured with what fails
            lines.append(to_line(answer.to_json()))
        return lines

    def explain() -> str:
        answer = model.predict(files[0])
        explained: Any
        if task == "gradcam":
            explained = explainer.gradcam.explain(answer.prediction.features, target)
        else:
            explained = explainer.lime.explain(answer.prediction.input, target)
        return to_line({**answer.to_json(), task: explained.to_json()})

    if task == "predict":
        return predict
    explainer = model.explainer
    return explain


def process_run(case: Case, file: Path, *, bundle: Path | None, provider: Provider) -> Run:
    """Make the run of ``cxr-edge predict FILE`` as a new process.

    Args:
        case: Its precision and threads.
        file: What to answer; its decoding is the least part of a process, so that one is enough.
        bundle: The folder that the command line names; None is the installed one.
        provider: The word that the command line takes.
    """
    options = ["--json", "--provider", provider, "--threads", str(case.threads), "--precision", case.precision]
    if bundle is not None:
        options += ["--bundle", str(bundle)]
    command = [sys.executable, "-m", "cxr_edge", "predict", *options, "--", str(file)]

    def run() -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  # itself
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or "nothing was said"
            raise CxrEdgeError(f"{' '.join(command)} ended with {done.returncode}: {said}")

    return run
