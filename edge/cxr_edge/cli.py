"""The ``cxr-edge`` command: its sub-commands, and the one place where errors become exit codes."""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from cxr_edge import __version__
from cxr_edge.commands.bench import bench
from cxr_edge.commands.command import Command
from cxr_edge.commands.completion import completion
from cxr_edge.commands.doctor import doctor, verify
from cxr_edge.commands.explain import explain
from cxr_edge.commands.node import node
from cxr_edge.commands.predict import predict
from cxr_edge.commands.report import report, schema
from cxr_edge.commands.scan import scan
from cxr_edge.commands.tune import tune
from cxr_edge.commands.view import view
from cxr_edge.errors import CxrEdgeError, OutputError
from cxr_edge.text import printable

_READER_LEFT = 128 + 13  # what a shell gives for a program that a broken pipe has ended

app = typer.Typer(
    name="cxr-edge",
    help="Explained chest-X-ray classification. Research use only: not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would double the time that --help takes
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (predict, explain, scan, node, report, view, bench, tune, verify, doctor, schema, completion):
    app.command(cls=Command)(command)


def _version(asked: bool) -> None:  # Typer's callbacks take their value by position
    if asked:
        typer.echo(f"cxr-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


class _Results(FileIO):
    """Standard output: what cannot be written ends the command with one line and an exit code.

    Raises:
        OutputError: The disk is full, or the output was closed.
        SystemExit: Nobody reads any more. This is no error, and nothing is said about it.
    """

    def write(self, data: Any, /) -> int:
        try:
            return _written(super().write, data, self)
        except BrokenPipeError:
            raise SystemExit(_READER_LEFT) from None
        except OSError as error:
            raise OutputError(
                f"standard output cannot be written ({error.strerror or error})",
                cure="make room, or redirect it to another file",
            ) from error


class _Messages(FileIO):
    """Standard error: a message that cannot be written is dropped; results and the exit code do not depend on it."""

    def write(self, data: Any, /) -> int:
        try:
            return _written(super().write, data, self)
        except OSError:
            return len(data)


def _written(write: Callable[[Any], int | None], data: Any, stream: FileIO) -> int:
    """Write to a stream that may be one that does not wait, such as the pipe of a program that reads several."""
    while (count := write(data)) is None:
        from select import select

        select([], [stream], [])
    return count


def _guard_streams() -> None:
    """Put streams that know what to do where writing fails in the place of Python's.

    A closed one is replaced first: else the next file that is opened would take its number, and receive what any
    library prints.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is the one that is taken; writing to standard output has to fail
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    for name, number, kind in (("stdout", 1, _Results), ("stderr", 2, _Messages)):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        unbuffered = type(buffer) is FileIO  # python -u
        if stream is None or unbuffered or type(getattr(buffer, "raw", None)) is FileIO:  # else a console of Windows
            raw = BufferedWriter(kind(number, "wb", closefd=False))
            encoding = "utf-8" if stream is None else stream.encoding
            lines = number == 2 or unbuffered or os.isatty(number)
            setattr(sys, name, TextIOWrapper(raw, encoding, line_buffering=lines))


def run() -> int:
    """Run the command line that the process was started with.

    Returns:
        The exit code: 0 all fine, 2 wrong usage, 3 some inputs could not be answered or results could not be written,
        4 the provider is not there, 5 the bundle is missing or was changed, 130 interrupted.
    """
    gc.set_threshold(50_000)  # imports make many objects and hardly any garbage
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # what OpenCV has to say is said by our errors
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except CxrEdgeError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        return error.exit_code
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def main() -> NoReturn:
    """Run the command line and leave at once: taking the libraries down would last longer than a prediction."""
    _guard_streams()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries remark is meant for programmers
    code = run()
    sys.stderr.flush()
    if code == _READER_LEFT and hasattr(signal, "SIGPIPE"):  # `… | head` ends as every other program does
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    os._exit(code)
