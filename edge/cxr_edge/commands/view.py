"""``cxr-edge view``: a page on this machine to drop radiographs on."""

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import say


def view(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A scan's output folder: its results are listed, also while it runs.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in this user's browser.")] = False,
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "auto",
    threads: options.Threads = None,
    precision: options.PrecisionOption = "fp32",
    operating_point: options.OperatingPointOption = None,
    no_gate: options.NoGate = False,
) -> None:
    """Open a page to drop radiographs on: what the network says, why, and what speaks against it.

    The page is served to this machine alone, at an address with a secret in it; no other host is asked for anything,
    and nothing is kept. Ctrl-C ends it. Research use only: not a medical device.
    """
    from importlib.util import find_spec

    from cxr_edge.errors import UsageError

    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise UsageError("view needs Starlette and uvicorn", cure="run pip install 'cxr-edge[view]'")
    from cxr_edge.api import load
    from cxr_edge.view.desk import Desk, ScanFolder
    from cxr_edge.view.server import serve

    scan = ScanFolder(folder) if folder else None
    desk = Desk(
        load(
            bundle,
            provider=provider,
            threads=threads,
            precision=precision,
            operating_point=operating_point,
            gate=not no_gate,
            spinning=False,  # a program that waits for files must not keep the machine busy
        ),
    )
    desk.warm_up()

    def ready(address: str) -> None:
        typer.echo(address)
        say("Open this address in a browser of this machine. Ctrl-C ends it; nothing is kept.")
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(desk, scan, port=port, ready=ready)
