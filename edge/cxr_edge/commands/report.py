"""``cxr-edge report``: the journal of a scan → CSV, Parquet and a page for people."""

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.text import printable


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What cxr-edge scan wrote into, running or not.", show_default=False)
    ],
    formats: Annotated[
        str, typer.Option(metavar="csv,parquet,html", help="What to write, separated by commas.")
    ] = "csv,html",
) -> None:
    """Write the tables and the report of a scan again, from its journal alone.

    Writes results.csv, results.parquet and report.html into DIR, each as a whole or not at all.
    """
    from cxr_edge.report import write_reports

    for path in write_reports(folder, formats=[name.strip() for name in formats.split(",")]):
        typer.echo(printable(str(path)))
