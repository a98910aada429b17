"""What can go wrong, each with the exit code that the command line gives it.

A message says what was read, what was expected and what to type.
"""

from pathlib import Path


class CxrEdgeError(Exception):
    """Base of every error that a user can cause and mend.

    Attributes:
        exit_code: Exit status of the command line.
        kind: Short stable word for records and scripts.
    """

    exit_code = 1
    kind = "error"


class UsageError(CxrEdgeError):
    """An option or argument that makes no sense."""

    exit_code = 2
    kind = "usage"


class InputError(CxrEdgeError):
    """A radiograph that cannot be answered.

    Attributes:
        path: The file or folder, None for bytes and arrays.
        problem: What was read, what was expected, what to do; without the path.

    Args:
        problem: See above.
        path: See above; the message names it.
        kind: ``not-found``, ``not-a-file``, ``unreadable``, ``empty``, ``not-an-image``, ``unsupported``,
            ``truncated``, ``damaged``, ``no-pixels``, ``multi-frame``, ``too-large``, ``missing-decoder`` or
            ``refused``.
    """

    exit_code = 3

    def __init__(self, problem: str, *, kind: str, path: Path | None = None) -> None:
        super().__init__(problem if path is None else f"{path}: {problem}")
        self.problem = problem
        self.kind = kind
        self.path = path

    def at(self, path: Path) -> "InputError":
        """Give the same error of a file."""
        return InputError(self.problem, kind=self.kind, path=path)


class OutputError(CxrEdgeError):
    """Results that cannot be written: no space, no permission, or the folder is gone."""

    exit_code = 3
    kind = "unwritable"


class ProviderError(CxrEdgeError):
    """The execution provider that was asked for does not run here."""

    exit_code = 4
    kind = "provider"


class BundleError(CxrEdgeError):
    """A bundle that is missing, changed or not understood."""

    exit_code = 5
    kind = "bundle"
