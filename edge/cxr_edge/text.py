"""Text that is safe to print, and what is said beside the results."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["debug", "info", "warning", "error"]
_LOGGER = "cxr_edge"


def printable(text: str) -> str:
    """Escape what could break a line or a terminal: control characters, and bytes of a path that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain(text: str) -> str:
    """Escape all that is no printable ASCII, for what knows no other characters: some fonts, some DICOM objects."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")


def say(text: str, level: Level = "info") -> None:
    """Say something beside the results: a record of the logger ``cxr_edge``, which the command line prints.

    Args:
        text: Whole lines, safe to print.
        level: ``warning`` and ``error`` concern a radiograph or the outcome, ``info`` is good to know, ``debug`` is for
            who looks for a fault.
    """
    from logging import getLevelNamesMapping, getLogger

    getLogger(_LOGGER).log(getLevelNamesMapping()[level.upper()], "%s", text)


def is_said(level: Level) -> bool:
    """Whether what is said at a level is printed."""
    from logging import getLevelNamesMapping, getLogger

    return getLogger(_LOGGER).isEnabledFor(getLevelNamesMapping()[level.upper()])


def choose_level(level: Level) -> None:
    """Print on standard error what is said at a level or above it, one line each, as it stands."""
    import sys
    from logging import Handler, LogRecord, getLogger

    class Lines(Handler):
        def emit(self, record: LogRecord) -> None:
            sys.stderr.write(f"{record.getMessage()}\n")
            sys.stderr.flush()

    logger = getLogger(_LOGGER)
    logger.handlers = [Lines()]
    logger.propagate = False
    logger.setLevel(level.upper())


def open_console(*, stderr: bool = False) -> "Console":
    """Open standard output, or standard error, for tables and progress bars.

    Where ``NO_COLOR`` is set (no-color.org), neither colours nor bold nor faint text are written.
    """
    import os

    from rich.console import Console

    return Console(stderr=stderr, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
