"""Opens every network that was asked for, measures its cases and puts the figures together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from cxr_edge.api import Model
from cxr_edge.bench.cases import Case, Selection, check_words
from cxr_edge.bench.environment import Environment
from cxr_edge.bench.inputs import Inputs
from cxr_edge.bench.measure import Figures, Rule, measure
from cxr_edge.bench.report import Report
from cxr_edge.bench.workloads import Workloads
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.sessions import Provider

Progress = Callable[[str, int, int], None]
"""Told what is measured next, how many cases are done and how many there are."""
_PROCESS_RUNS = 3  # of a window: a process takes so long that three fill more than the least time of one


@dataclass(frozen=True)
class Networks:
    """Which sessions are opened, every combination of them.

    Attributes:
        providers: See `open_session`.
        precisions: Of the bundle; None takes all that it has.
        threads: For one run; None takes every core this process may use.
    """

    providers: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] | None = None
    threads: tuple[int | None, ...] = (None,)

    def __post_init__(self) -> None:
        check_words("provider", self.providers, get_args(Provider))


class Suite:
    """Opened networks with the cases to measure.

    Args:
        networks: Which sessions.
        selection: What to measure with each.
        bundle: Folder of a bundle; None takes the installed one.

    Raises:
        UsageError: Options that make no sense.
        ProviderError: A provider does not start: nothing is measured without it.
        BundleError: The bundle is missing or was changed.
    """

    def __init__(self, networks: Networks, selection: Selection, *, bundle: Path | None = None) -> None:
        self.bundle = Bundle.open(bundle)
        self._folder = bundle
        self._plan: dict[Case, tuple[str, Model]] = {}
        precisions = networks.precisions
        if precisions is None:
            precisions = tuple(self.bundle.manifest.precisions)
        check_words("precision", precisions, self.bundle.manifest.precisions)
        for provider in networks.providers:
            for threads in networks.threads:
                for precision in precisions:
                    self._open(provider, threads, precision, selection)

    def _open(self, provider: str, threads: int | None, precision: str, selection: Selection) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads; expected at least 1")
        known: dict[str, Provider] = {word: word for word in get_args(Provider)}
        model = Model(Classifier(self.bundle, provider=known[provider], threads=threads, precision=precision))
        session = model.classifier.session
        for case in selection.cases(provider=session.provider, precision=precision, threads=session.threads):
            self._plan.setdefault(case, (provider, model))  # auto may be what was named as well

    @property
    def cases(self) -> tuple[Case, ...]:
        """What is going to be measured, task by task."""
        order = {task: number for number, task in enumerate(dict.fromkeys(case.task for case in self._plan))}
        return tuple(sorted(self._plan, key=lambda case: (order[case.task], case.scope != "session")))

    @property
    def reasons(self) -> dict[str, str]:
        """Why each provider is the one that computes."""
        sessions = [model.classifier.session for _, model in self._plan.values()]
        return {session.provider: session.reason for session in sessions}

    def run(
        self, files: Sequence[Path], inputs: Inputs, environment: Environment, *, rule: Rule, progress: Progress
    ) -> Report:
        """Measure every case.

        Args:
            files: What to answer.
            inputs: What is said about them.
            environment: What is said about the machine.
            rule: When figures have settled.
            progress: Told before each case.
        """
        figures: dict[Case, Figures] = {}
        cases = self.cases
        for number, case in enumerate(cases):
            progress(str(case), number, len(cases))
            provider, model = self._plan[case]
            runs = Workloads(model, files, bundle=self._folder, provider=provider).runs(case)
            held = replace(rule, window_runs=_PROCESS_RUNS) if case.task == "start" else rule
            figures[case] = measure(runs, rule=held, radiographs=case.batch_size)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return Report(created, self.bundle.to_json(), environment, inputs, rule, figures)
