"""A case → the runs that are timed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import Model
from cxr_edge.bench.cases import Case
from cxr_edge.bench.measure import Run
from cxr_edge.errors import CxrEdgeError, InputError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.results.record import to_line


class Workloads:
    """Builds the runs for one opened network.

    Explanations speak for the positive label whatever the answer, so that every network does the same work.

    Args:
        model: The network.
        files: What to answer.
        bundle: The folder that the command line names for a new process; None is the installed one.
        provider: The word that the command line takes for a new process.
    """

    def __init__(self, model: Model, files: Sequence[Path], *, bundle: Path | None, provider: str) -> None:
        self._model = model
        self._files = tuple(files)
        self._bundle = bundle
        self._provider = provider
        self._target = model.bundle.manifest.positive

    def runs(self, case: Case) -> tuple[Run, ...]:
        """Build the runs of a case: one for each batch of files, the last filled up from the first files."""
        if case.task == "start":
            return (self._process(case, self._files[0]),)  # its own decoding is the least part of a process
        batches = [
            tuple(self._files[index % len(self._files)] for index in range(start, start + case.batch_size))
            for start in range(0, len(self._files), case.batch_size)
        ]
        if case.scope == "file":
            return tuple(self._from_file(case.task, batch) for batch in batches)
        spec = self._model.bundle.manifest.input
        inputs = {
            file: to_input(read_radiograph(file), height=spec.height, width=spec.width) for file in set(self._files)
        }
        return tuple(self._from_input(case.task, np.stack([inputs[file] for file in batch])) for batch in batches)

    def _from_input(self, task: str, inputs: NDArray[np.float32]) -> Run:
        classifier = self._model.classifier
        if task == "predict":
            return lambda: classifier.predict(inputs)
        explainer = self._model.explainer
        if task == "lime":
            return lambda: explainer.lime.explain(inputs[0], self._target)
        return lambda: explainer.gradcam.explain(classifier.predict(inputs)[0].features, self._target)

    def _from_file(self, task: str, batch: tuple[Path, ...]) -> Run:
        def predict() -> list[str]:
            answers = self._model.predict_batch([read_radiograph(file) for file in batch])
            return [to_line(answer.to_json()) for answer in answers if not isinstance(answer, InputError)]

        def explain() -> str:
            answer = self._model.predict(batch[0])
            explained: Any
            if task == "gradcam":
                explained = explainer.gradcam.explain(answer.prediction.features, self._target)
            else:
                spec = self._model.bundle.manifest.input
                image = to_input(answer.radiograph, height=spec.height, width=spec.width)
                explained = explainer.lime.explain(image, self._target)
            return to_line({**answer.to_json(), task: explained.to_json()})

        if task == "predict":
            return predict
        explainer = self._model.explainer
        return explain

    def _process(self, case: Case, file: Path) -> Run:
        options = ["--json", "--provider", self._provider, "--threads", str(case.threads)]
        options += ["--precision", case.precision]
        if self._bundle is not None:
            options += ["--bundle", str(self._bundle)]
        command = [sys.executable, "-m", "cxr_edge", "predict", *options, "--", str(file)]

        def run() -> None:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  # itself
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip() or "nothing was said"
                raise CxrEdgeError(f"{' '.join(command)} ended with {done.returncode}: {said}")

        return run
