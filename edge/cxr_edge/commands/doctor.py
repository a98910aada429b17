"""``cxr-edge doctor``: is this machine set up right, and if not, what mends it?"""

from typing import Annotated

import typer

from cxr_edge.commands import options


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    bundle: options.Bundle = None,
    provider: Annotated[
        options.ProviderName,
        typer.Option(help="What has to start: auto all that this ONNX Runtime has, else the CPU and the one named."),
    ] = "auto",
) -> None:
    """Check versions, ONNX Runtime, processor, providers, bundle and DICOM decoders, and say what mends each fault.

    Exits with 0 if all is well, 4 if the installation or a provider is at fault, 5 if the bundle is; with several, with
    what the first one gives, since the others may come from it. Notes, such as a missing decoder, are no faults.
    """
    from cxr_edge.doctor import examine

    report = examine(bundle=bundle, provider=provider)
    if json:
        from json import dumps

        typer.echo(dumps(report.to_json(), allow_nan=False))  # `records` needs ONNX Runtime, which may be missing
    else:
        from rich.console import Console

        from cxr_edge.doctor.table import show

        show(report, Console(highlight=False))
    if report.exit_code:
        raise typer.Exit(report.exit_code)
