"""What a scan makes of an answer beside its record: a figure for each radiograph that is called positive.

The figures lie in folders like those of the inputs.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cxr_edge.api import Model
from cxr_edge.errors import OutputError
from cxr_edge.explanation import Method, rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.files import write_atomically
from cxr_edge.results.outcomes import Answer, attempt
from cxr_edge.results.output import file_mode, make_folder_below
from cxr_edge.results.schema import Answered, Record

ANNOTATED = "annotated"


class AnswerSink(Protocol):
    """Takes the answers of a scan; safe to use from several threads."""

    def write(self, path: Path, answer: Answer, explanation: Explanation | None = None) -> None:
        """Make of an answer what is to be made; what is there already stays.

        Args:
            path: The input.
            answer: Its answer, which may be a refusal.
            explanation: Its explanation, if there is one.

        Raises:
            OutputError: It cannot be written.
        """

    def make_up(self, record: Record) -> None:
        """Make it for a record that has none: its content was answered before, or under another name.

        Raises:
            OutputError: It cannot be written.
        """


class AnnotatedTree:
    """The folder ``annotated`` of an output folder.

    Args:
        out: The output folder.
        inputs: What is scanned: files and folders.
        model: What answers and explains.
        method: What the figures explain with.
    """

    def __init__(self, out: Path, inputs: Sequence[Path], model: Model, *, method: Method) -> None:
        self._out = out
        self._model = model
        self._method = method
        model.explainer.prepare(method)
        try:
            above = os.path.commonpath([each if each.is_dir() else each.parent for each in inputs])
        except ValueError:  # several drives
            above = ""
        self._above = Path(above)

    def place(self, path: Path) -> Path:
        """Give where the figure of an input lies: its path below what all inputs have in common, with ``.png``."""
        below = path.relative_to(self._above) if path.is_relative_to(self._above) else path.relative_to(path.anchor)
        return self._out / ANNOTATED / below.with_name(f"{below.name}.png")

    def write(self, path: Path, answer: Answer, explanation: Explanation | None = None) -> None:
        """Draw the figure of an answer that is called positive.

        Args:
            path: The input.
            answer: Its answer; any other label, and a refusal, gets no figure.
            explanation: Its explanation, if there is one already.

        Raises:
            OutputError: It cannot be written.
        """
        if answer.refusal or answer.label != self._model.bundle.manifest.positive:
            return
        place = self.place(path)
        explanation = explanation or self._model.explainer.explain(answer, method=self._method)
        try:
            folder = make_folder_below(self._out, place.parent.relative_to(self._out))
            write_atomically(folder / place.name, rendering.to_png(next(draw(explanation))[1]), mode=file_mode(folder))
        except OSError as error:
            problem = f"cannot be written ({error.strerror})"
            raise OutputError(problem, cure="make room and start the same scan again", path=place) from error

    def make_up(self, record: Record) -> None:
        """Draw the figure of a record that has none: its content was answered before, or under another name.

        Raises:
            OutputError: It cannot be written.
        """
        path = Path(record.path or "")
        positive = isinstance(record, Answered) and record.label == self._model.bundle.manifest.positive
        if positive and not self.place(path).exists():
            attempt(path, lambda: self.write(path, self._model.predict(path)))
