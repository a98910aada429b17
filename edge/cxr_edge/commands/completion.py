"""``cxr-edge completion``: the file with which a shell completes the commands and options of `cxr-edge`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

FOLDER = Path(__file__).parents[1] / "completion"
FILES = {"bash": "cxr-edge.bash", "zsh": "_cxr-edge", "fish": "cxr-edge.fish", "powershell": "cxr-edge.ps1"}


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], typer.Argument(metavar="SHELL", help="For which shell.")
    ],
) -> None:
    """Print the script with which a shell completes commands and options when Tab is pressed.

    The shell reads it once. The program is not started for it.
    """
    typer.echo((FOLDER / FILES[shell]).read_text("utf-8"), nl=False)
