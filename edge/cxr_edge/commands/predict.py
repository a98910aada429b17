"""``cxr-edge predict``: files and folders → a table or JSON Lines."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable

if TYPE_CHECKING:
    from cxr_edge.results.outcomes import Answer, Failure

_ROW = "{:<10}  {:>12}  {:>9}  {}"
_RANGE = len("0.0000 to 1.0000")


def predict(
    paths: options.Inputs,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input, in input order.")] = False,
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "auto",
    threads: options.Threads = None,
    precision: options.PrecisionOption = "fp32",
    operating_point: options.OperatingPointOption = None,
    no_unsure: options.NoUnsure = False,
    prevalence: options.Prevalence = None,
    test_time_augmentation: options.TestTimeAugmentation = False,
    no_gate: options.NoGate = False,
) -> None:
    """Say how likely each radiograph shows pneumonia.

    Between the two thresholds of an operating point the label is UNSURE.

    Research use only: not a medical device. Exits with 3 if some inputs could not be answered, or were
    refused because they look like no chest radiograph.
    """
    from cxr_edge.api import load

    model = load(
        bundle,
        provider=provider,
        threads=threads,
        precision=precision,
        operating_point=operating_point,
        unsure=not no_unsure,
        prevalence=prevalence,
        test_time_augmentation=test_time_augmentation,
        gate=not no_gate,
    )
    from cxr_edge.errors import InputError
    from cxr_edge.reading.discovery import Discovery
    from cxr_edge.results.outcomes import Failure, attempt
    from cxr_edge.results.record import RESEARCH_USE, to_line

    if not json:
        heading = f"{'spread':<{_RANGE}}  file" if test_time_augmentation else "file"
        typer.echo(_ROW.format("label", "probability", "threshold", heading))
    count = failures = refused = 0
    search = Discovery(tuple(paths), ordered=True).find()
    for found in search:
        count += 1
        outcome: Answer | Failure
        outcome = Failure.of(found) if isinstance(found, InputError) else attempt(found, partial(model.predict, found))
        failures += isinstance(outcome, Failure)
        typer.echo(to_line(outcome.to_json()) if json else _row(outcome, spread=test_time_augmentation))
        if isinstance(outcome, Failure):
            typer.echo(printable(f"error: {outcome.error}"), err=True)
            continue
        if refusal := outcome.refusal:
            refused += 1
            typer.echo(printable(f"refused: {found}: {refusal}"), err=True)
        for warning in outcome.warnings:
            typer.echo(printable(f"warning: {found}: {warning}"), err=True)

    if search.summary:
        typer.echo(search.summary, err=True)
    session, manifest = model.classifier.session, model.bundle.manifest
    typer.echo(
        f"{manifest.name} {manifest.version} ({model.bundle.digest[:12]}), {precision} on {session.provider}"
        f" ({session.reason}), {session.threads} threads, operating point {model.classifier.rule.operating_point}.\n"
        f"{RESEARCH_USE}",
        err=True,
    )
    if failures:
        typer.echo(f"{failures} of {count} inputs could not be answered.", err=True)
    if refused:
        typer.echo(f"{refused} of {count} inputs were refused; --no-gate answers them all the same.", err=True)
    if failures or refused:
        raise typer.Exit(InputError.exit_code)


def _row(outcome: "Answer | Failure", *, spread: bool) -> str:
    from cxr_edge.results.outcomes import Answer, Failure

    ends = outcome.spread if isinstance(outcome, Answer) else None
    between = f"{f'{ends.lowest:.4f} to {ends.highest:.4f}' if ends else '':<{_RANGE}}  " if spread else ""
    if isinstance(outcome, Failure):
        return _ROW.format("error", outcome.error.kind, "", between + printable(str(outcome.path)))
    prediction, path = outcome.prediction, outcome.radiograph.source.path
    name = between + printable(str(path))
    if outcome.refusal:
        return _ROW.format("refused", "", "", name)
    return _ROW.format(prediction.label, f"{prediction.probability:.4f}", f"{prediction.threshold:.4f}", name)
