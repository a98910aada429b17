"""The ``cxr-edge`` command: its sub-commands, and the one place where errors become exit codes."""

import gc
import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from cxr_edge import __version__
from cxr_edge.commands.bench import bench
from cxr_edge.commands.doctor import doctor
from cxr_edge.commands.explain import explain
from cxr_edge.commands.predict import predict
from cxr_edge.commands.report import report
from cxr_edge.commands.scan import scan
from cxr_edge.commands.schema import schema
from cxr_edge.commands.verify import verify
from cxr_edge.errors import CxrEdgeError
from cxr_edge.text import printable

app = typer.Typer(
    name="cxr-edge",
    help="Explained chest-X-ray classification. Research use only: not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would double the time that --help takes
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(predict)
app.command()(explain)
app.command()(scan)
app.command()(report)
app.command()(bench)
app.command()(verify)
app.command()(doctor)
app.command()(schema)


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


def run() -> int:
    """Run the command line that the process was started with.

    Returns:
        The exit code: 0 all fine, 2 wrong usage, 3 some inputs could not be answered, 4 the provider is not there,
        5 the bundle is missing or was changed, 130 interrupted.
    """
    gc.set_threshold(50_000)  # imports make many objects and hardly any garbage
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `… | head` ends quietly, as every other program does
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # what OpenCV has to say is said by our errors
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except CxrEdgeError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        return error.exit_code
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def main() -> NoReturn:
    """Run the command line and leave at once: taking the libraries down would last longer than a prediction."""
    code = run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
