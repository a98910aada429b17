"""What can go wrong, each with the exit code that the command line gives it.

A message says what was read, what was expected and what to type.
"""

from pathlib import Path


class CxrEdgeError(Exception):
    """Base of every error that a user can cause and mend.

    Attributes:
        exit_code: Exit status of the command line.
        kind: Short stable word for records and scripts.
        problem: What was read and what was expected; without path and cure.
        cure: What to type or to do, None where the problem says it or nothing helps.
        path: The file or folder, None where there is none.

    Args:
        problem: See above.
        cure: See above; the message ends with it.
        path: See above; the message begins with it.
    """

    exit_code = 1
    kind = "error"

    def __init__(self, problem: str, *, cure: str | None = None, path: Path | None = None) -> None:
        where = "" if path is None else f"{path}: "
        super().__init__(f"{where}{problem}{f'; {cure}' if cure else ''}")
        self.problem = problem
        self.cure = cure
        self.path = path


class UsageError(CxrEdgeError):
    """An option or argument that makes no sense."""

    exit_code = 2
    kind = "usage"


class InputError(CxrEdgeError):
    """A radiograph that cannot be answered.

    Attributes:
        kind: ``not-found``, ``not-a-file``, ``unreadable``, ``empty``, ``not-an-image``, ``unsupported``,
            ``truncated``, ``damaged``, ``no-pixels``, ``multi-frame``, ``too-large``, ``missing-decoder``,
            ``refused``, ``own-output``, ``not-finite`` or ``internal``; of a DICOM result that cannot be made
            ``no-dicom`` or ``no-reference``.

    Args:
        problem: See `CxrEdgeError`.
        kind: See above.
        cure: See `CxrEdgeError`.
        path: See `CxrEdgeError`; None for bytes and arrays.
    """

    exit_code = 3

    def __init__(self, problem: str, *, kind: str, cure: str | None = None, path: Path | None = None) -> None:
        super().__init__(problem, cure=cure, path=path)
        self.kind = kind

    def at(self, path: Path) -> "InputError":
        """Give the same error of a file."""
        return InputError(self.problem, kind=self.kind, cure=self.cure, path=path)


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
