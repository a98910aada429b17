"""``cxr-edge predict``: files and folders → a table or JSON Lines."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable, say

if TYPE_CHECKING:
    from cxr_edge.errors import InputError
    from cxr_edge.results.outcomes import Answer, Failure

_ROW = "{:<10}  {:>12}  {:>9}  {}"
_RANGE = len("0.0000 to 1.0000")


def predict(
    paths: options.OptionalInputs = None,
    files_from: Annotated[
        Path | None,
        typer.Option(
            parser=options.path,
            metavar="FILE",
            help="Answer the names in this file as well, one a line; - is standard input, whose names are answered as"
            " they come.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input, in input order.")] = False,
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "auto",
    threads: options.Threads = None,
    precision: options.PrecisionOption = "auto",
    operating_point: options.OperatingPointOption = None,
    no_unsure: options.NoUnsure = False,
    prevalence: options.Prevalence = None,
    test_time_augmentation: options.TestTimeAugmentation = False,
    no_gate: options.NoGate = False,
    dicom_out: options.DicomOut = None,
    sr: options.Report = "comprehensive3d",
) -> None:
    """Say how likely each radiograph shows pneumonia.

    Between the two thresholds of an operating point the label is UNSURE.

    Research use only: not a medical device. Exits with 3 if some inputs could not be answered, or were
    refused because they look like no chest radiograph.
    """
    named = _sources(paths, files_from)
    options.check_clinic(dicom_out, report=sr)
    from cxr_edge.api import load
    from cxr_edge.runtime.machine import check_threads, usable_cores

    # Names that come one after the other are answered side by side, each on one core: the rate is that of a scan.
    streamed = any(isinstance(source, Path) for source in named)
    check_threads(threads)
    threads = threads or (1 if streamed else None)
    workers = max(1, usable_cores() // threads) if streamed and threads else 1
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
        use="scan" if streamed else "single",
        count=None if streamed else options.count_files(paths),
    )
    from cxr_edge.errors import InputError
    from cxr_edge.reading.discovery import describe_skipped
    from cxr_edge.results.outcomes import Failure, attempt
    from cxr_edge.results.record import RESEARCH_USE, to_line
    from cxr_edge.scan.stream import in_order

    def answer(found: "Path | InputError") -> "Answer | Failure":
        return Failure.of(found) if isinstance(found, InputError) else attempt(found, partial(model.predict, found))

    if not json:
        heading = f"{'spread':<{_RANGE}}  file" if test_time_augmentation else "file"
        typer.echo(_ROW.format("label", "probability", "threshold", heading))
    count = failures = refused = 0
    skipped: Counter[str] = Counter()
    search = _find(named, skipped)
    outcomes = in_order(search, answer, workers=workers) if streamed else ((each, answer(each)) for each in search)
    for found, outcome in outcomes:
        count += 1
        failures += isinstance(outcome, Failure)
        typer.echo(to_line(outcome.to_json()) if json else _row(outcome, spread=test_time_augmentation))
        if isinstance(outcome, Failure):
            say(printable(f"error: {outcome.error}"), "error")
            continue
        failures += not options.write_dicom(outcome, Path(str(found)), dicom_out, report=sr)
        if refusal := outcome.refusal:
            refused += 1
            say(printable(f"refused: {found}: {refusal}"), "warning")
        for warning in outcome.warnings:
            say(printable(f"warning: {found}: {warning}"), "warning")

    if summary := describe_skipped(skipped):
        say(summary)
    session, manifest, precision = model.classifier.session, model.bundle.manifest, model.classifier.precision
    say(
        f"{manifest.name} {manifest.version} ({model.bundle.digest[:12]}), {precision} on {session.provider}"
        f" ({session.reason}), {session.threads} threads, operating point {model.classifier.rule.operating_point}.\n"
        f"{RESEARCH_USE}"
    )
    if failures:
        say(f"{failures} of {count} inputs could not be answered.", "error")
    if refused:
        say(f"{refused} of {count} inputs were refused; --no-gate answers them all the same.", "warning")
    if failures or refused:
        raise typer.Exit(InputError.exit_code)


def _sources(paths: list[Path] | None, files_from: Path | None) -> "list[tuple[Path, ...] | Path]":
    """Sort what was named into paths to search together and, as a single path, files that hold names."""
    from cxr_edge.errors import UsageError
    from cxr_edge.scan.stream import STANDARD_INPUT

    given = paths or []
    named: list[tuple[Path, ...] | Path] = [tuple(each for each in given if each != STANDARD_INPUT)]
    named += [each for each in given if each == STANDARD_INPUT]
    named += [] if files_from is None else [files_from]
    if named == [()]:
        raise UsageError("no radiographs are named", cure="name files or folders, or take --files-from")
    if named.count(STANDARD_INPUT) > 1:
        raise UsageError("standard input is named twice", cure="take - or --files-from -")
    return [source for source in named if source != ()]


def _find(named: "list[tuple[Path, ...] | Path]", skipped: Counter[str]) -> "Iterator[Path | InputError]":
    """Find what is to be answered; what is left out is counted in ``skipped``."""
    from cxr_edge.reading.discovery import Discovery
    from cxr_edge.scan.stream import read_names

    for source in named:
        # A name that comes again is answered again: every line gets its answer.
        groups = [source] if isinstance(source, tuple) else ((name,) for name in read_names(source))
        for group in groups:
            search = Discovery(group, ordered=True).find()
            yield from search
            skipped.update(search.skipped)


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
