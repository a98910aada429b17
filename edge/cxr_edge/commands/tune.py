"""``cxr-edge tune``: find what is quickest on this machine, and keep it for the other commands."""

from typing import Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable, say


def tune(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    bundle: options.BundleOption = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600.0, help="For all measurements together, beside about twenty to get ready.")
    ] = 32.0,
) -> None:
    """Measure what is installed here, and have --provider auto --precision auto take the quickest from now on.

    Only what passes the bundle's self-test is measured. Labels stay those of fp32: an answer that the other precision
    could turn is computed again. Anything changed, such as a version, and the choice is not used any more.
    """
    from cxr_edge.bench import tune as tuning
    from cxr_edge.bundle.bundle import Bundle
    from cxr_edge.errors import OutputError
    from cxr_edge.runtime.tuning import write_tuning

    opened = Bundle.open(bundle)
    report = tuning.tune(opened, seconds=seconds, say=say)
    try:
        path = write_tuning(opened, report.tuning)
    except OSError as error:
        problem = f"the choice cannot be stored ({error.strerror or error})"
        raise OutputError(problem, cure="name a folder for it in CXR_EDGE_CACHE") from error
    if json:
        from json import dumps

        typer.echo(dumps({**report.to_json(), "stored": path is not None}, allow_nan=False))
        return
    for use, engine in report.tuning.engines.items():
        rate = (
            f"{1000 * engine.seconds_for(1):>6.0f} ms for one"
            if use == "once"
            else f"{engine.per_second:>6.0f} a second"
        )
        typer.echo(f"{use:<7} {rate:<15} {engine}")
    for name, reason in report.discarded.items():
        say(printable(f"not measured: {name}: {reason}"))
    where = "not stored: no cache folder is used" if path is None else f"stored in {path}"
    say(printable(f"{report.seconds:.0f} s; {where}"))
