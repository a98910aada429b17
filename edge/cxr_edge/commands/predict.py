"""``cxr-edge predict``: files and folders → a table or JSON Lines."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable

if TYPE_CHECKING:
    from cxr_edge.classifier import Classifier
    from cxr_edge.records import Answer, Failure

_ROW = "{:<10}  {:>12}  {:>9}  {}"


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER",
            help="JPEG, PNG, TIFF, BMP or DICOM; folders are searched with their sub-folders.",
            show_default=False,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input, in input order.")] = False,
    bundle: options.Bundle = None,
    provider: options.Provider = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "fp32",
    operating_point: options.OperatingPoint = None,
) -> None:
    """Say how likely each radiograph shows pneumonia.

    Research use only: not a medical device. Exits with 3 if some inputs could not be answered.
    """
    with ThreadPoolExecutor(1) as pool:
        # Hashing the bundle and optimizing the network need no interpreter: OpenCV is imported meanwhile.
        loading = pool.submit(_load, bundle, provider, threads, precision, operating_point)
        try:
            from cxr_edge.api import Model
        except ImportError:
            loading.result()  # the other thread came upon the cause first, and says what it is
            raise
        from cxr_edge.errors import InputError
        from cxr_edge.inputs import find_images
        from cxr_edge.records import RESEARCH_USE, Failure, to_line

        model = Model(loading.result())
    if not json:
        typer.echo(_ROW.format("label", "probability", "threshold", "file"))
    count = failures = 0
    for found in find_images(paths):
        count += 1
        outcome: Answer | Failure
        if isinstance(found, Failure):
            outcome = found
        else:
            try:
                outcome = model.predict(found)
            except InputError as error:
                outcome = Failure(found, error)
        failures += isinstance(outcome, Failure)
        typer.echo(to_line(outcome.to_json()) if json else _row(outcome))
        notes = [f"error: {outcome.error}"] if isinstance(outcome, Failure) else outcome.warnings
        for note in notes:
            typer.echo(printable(note if isinstance(outcome, Failure) else f"warning: {found}: {note}"), err=True)

    session, manifest = model.classifier.session, model.bundle.manifest
    typer.echo(
        f"{manifest.name} {manifest.version} ({model.bundle.digest[:12]}), {precision} on {session.provider}"
        f" ({session.reason}), {session.threads} threads, operating point {model.classifier.operating_point}.\n"
        f"{RESEARCH_USE}",
        err=True,
    )
    if failures:
        typer.echo(f"{failures} of {count} inputs could not be answered.", err=True)
        raise typer.Exit(InputError.exit_code)


def _load(
    bundle: Path | None,
    provider: options.Provider,
    threads: int | None,
    precision: str,
    operating_point: str | None,
) -> "Classifier":
    from cxr_edge.bundle import Bundle

    opened = Bundle.open(bundle)
    from cxr_edge.classifier import Classifier

    return Classifier(opened, provider=provider, threads=threads, precision=precision, operating_point=operating_point)


def _row(outcome: "Answer | Failure") -> str:
    from cxr_edge.records import Failure

    if isinstance(outcome, Failure):
        return _ROW.format("error", outcome.error.kind, "", printable(str(outcome.path)))
    prediction, path = outcome.prediction, outcome.radiograph.source.path
    return _ROW.format(
        prediction.label, f"{prediction.probability:.4f}", f"{prediction.threshold:.4f}", printable(str(path))
    )
