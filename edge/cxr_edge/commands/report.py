"""``cxr-edge report``: the journal of a scan → CSV, Parquet and a page for people; ``cxr-edge schema``: its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable, say


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What cxr-edge scan wrote into, running or not.", show_default=False)
    ],
    formats: Annotated[
        str, typer.Option(metavar="csv,parquet,html", help="What to write, separated by commas.")
    ] = "csv,html",
    skip_bad: options.SkipBad = False,
) -> None:
    """Write the tables and the report of a scan again, from its journal alone.

    Writes results.csv, results.parquet and report.html into DIR, each as a whole or not at all.
    """
    from cxr_edge.report import parse_formats, write_reports

    written = write_reports(folder, formats=parse_formats(formats), skip_bad=skip_bad)
    for path in written.files:
        typer.echo(printable(str(path)))
    if written.left_out:
        say(f"{written.left_out} lines were no records; they are in results.bad.jsonl.", "warning")


def schema() -> None:
    """Print the JSON Schema of a record: of predict --json, of explanation.json and of a scan's results.jsonl."""
    from cxr_edge.results.schema import published

    typer.echo(published(), nl=False)
