"""What is measured: every combination of task, scope, precision, batch size, provider and threads asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from cxr_edge.errors import UsageError
from cxr_edge.runtime.cores import check_batch_size, check_threads
from cxr_edge.runtime.providers import Provider

Task = Literal["predict", "gradcam", "lime", "start"]
CaseScope = Literal["session", "file", "process"]
TASKS: tuple[Task, ...] = get_args(Task)
AtLeastOne = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        task: ``predict``; ``gradcam`` and ``lime``, each with the prediction that it explains; ``start``, which is
            ``cxr-edge predict FILE`` as a new process.
        scope: ``session``, from ready inputs in memory to the numbers; ``file``, from a file (in the disk cache) to the
            line of JSON that is its record; ``process``, of the task ``start``, from its call to its end.
        provider: What really computed, ``cpu`` or ``cuda``, say.
        precision: ``fp32`` or ``int8``.
        batch_size: Radiographs in a run; explanations are made one by one.
        threads: Threads of the session.
    """

    task: Task
    scope: CaseScope
    provider: str
    precision: str
    batch_size: AtLeastOne
    threads: AtLeastOne

    def to_json(self) -> dict[str, object]:
        """Give the case."""
        return asdict(self)

    def __str__(self) -> str:
        batch = f", batch {self.batch_size}" if self.batch_size > 1 else ""
        return (
            f"{self.task}, {self.scope}, {self.precision}{batch}, {counted(self.threads, 'thread')} on {self.provider}"
        )


@dataclass(frozen=True)
class CaseSelection:
    """What to measure with each network that is opened.

    Attributes:
        tasks: In the order of the table.
        scopes: Of ``session`` and ``file``; the task ``start`` has a scope of its own.
        batch_sizes: Of the task ``predict``.

    Raises:
        UsageError: An unknown task or scope, nothing to do, or a batch for which there is not enough memory.
    """

    tasks: tuple[str, ...]
    scopes: tuple[str, ...]
    batch_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        check_words("task", self.tasks, TASKS)
        check_words("scope", self.scopes, ("session", "file"))
        if not self.batch_sizes:
            raise UsageError("no batch size; expected numbers from 1 on, separated by commas")
        for size in self.batch_sizes:
            check_batch_size(size)

    def cases(self, *, provider: str, precision: str, threads: int) -> Iterator[Case]:
        """List the cases of one network, tasks in the order of `TASKS`."""
        for task in TASKS:
            if task not in self.tasks:
                continue
            scopes: tuple[Any, ...] = ("process",) if task == "start" else self.scopes
            for scope in scopes:
                for size in self.batch_sizes if task == "predict" else (1,):
                    yield Case(task, scope, provider, precision, size, threads)


@dataclass(frozen=True)
class SessionChoice:
    """Which sessions are opened, every combination of them.

    Attributes:
        providers: See `open_session`.
        precisions: Of the bundle; None takes all that it has.
        threads: For one run; None takes every core this process may use.

    Raises:
        UsageError: An unknown provider, or more threads than there are cores to use.
    """

    providers: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] | None = None
    threads: tuple[int | None, ...] = (None,)

    def __post_init__(self) -> None:
        check_words("provider", self.providers, get_args(Provider))
        for threads in self.threads:
            check_threads(threads)


def check_words(option: str, words: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse a list with a word that is not allowed.

    Raises:
        UsageError: Such a word, or none at all.
    """
    words, allowed = tuple(words), tuple(allowed)
    if unknown := [word for word in words if word not in allowed]:
        raise UsageError(f"{option} {unknown[0]!r}; expected any of {', '.join(allowed)}, separated by commas")
    if not words:
        raise UsageError(f"no {option}; expected any of {', '.join(allowed)}, separated by commas")


def counted(number: int, noun: str) -> str:
    """Say ``1 thread`` and ``2 threads``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
