"""``cxr-edge scan``: folders → a journal, tables and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable, say

if TYPE_CHECKING:
    from cxr_edge.api import Model
    from cxr_edge.clinic.results import ResultSink
    from cxr_edge.reading.discovery import Discovery
    from cxr_edge.results.index import Parameters
    from cxr_edge.scan.local import Arrivals


def scan(
    inputs: options.Inputs,
    out: Annotated[Path, typer.Option(help="Folder of the results; an earlier scan in it goes on.")],
    explain: Annotated[
        Literal["none", "gradcam", "lime", "both"], typer.Option(help="Which explanations; lime takes seconds each.")
    ] = "none",
    explain_if: Annotated[
        Literal["positive", "all"], typer.Option(help="Which answers are explained; positive with UNSURE.")
    ] = "positive",
    formats: Annotated[
        str, typer.Option(help="Of jsonl, csv, parquet, html; html writes a thumbnail of every radiograph.")
    ] = "jsonl,csv,html",
    annotated: Annotated[
        bool,
        typer.Option(
            "--annotated", help="Draw a figure of each positive answer into OUT/annotated, as the inputs lie."
        ),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with files as they arrive, until Ctrl-C.")] = False,
    poll: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="With --watch: look this often, for network shares."),
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Search sub-folders.")] = True,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only such names, or paths if it has a slash; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No such files or folders; repeatable.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Radiographs in work at once, each on one core.", show_default="usable cores"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Radiographs that run together.", show_default="1; int8 4; on a GPU 16"),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: a cluster; records as Parquet in OUT/records.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --engine ray.", show_default="this machine alone")
    ] = None,
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "auto",
    precision: options.PrecisionOption = "auto",
    operating_point: options.OperatingPointOption = None,
    no_unsure: options.NoUnsure = False,
    prevalence: options.Prevalence = None,
    test_time_augmentation: options.TestTimeAugmentation = False,
    no_gate: options.NoGate = False,
    mode: options.OutputMode = "700",
    skip_bad: options.SkipBad = False,
    dicom_out: options.DicomOut = None,
    sr: options.Report = "comprehensive3d",
    gsps: options.Gsps = False,
) -> None:
    """Answer whole folders, restartable at any moment, with a report to look through.

    OUT/results.jsonl holds one record per input and only ever grows; all else in OUT derives from it. The same command
    goes on where it was stopped. Research use only: not a medical device. Exits with 3 if some inputs could not be
    answered, or were refused because they look like no chest radiograph.
    """
    from functools import partial

    from cxr_edge.errors import InputError
    from cxr_edge.report import parse_formats, write_reports
    from cxr_edge.results.output import parse_mode

    reports = tuple(name for name in parse_formats(formats) if name != "jsonl")  # the journal is always written
    permissions = parse_mode(mode)
    _check_watch(watch=watch, poll=poll)
    _check_out(out, inputs)
    options.check_clinic(dicom_out, report=sr, gsps=gsps)

    from cxr_edge.reading.discovery import Discovery
    from cxr_edge.runtime.machine import usable_cores
    from cxr_edge.scan import local

    _check_engine(engine, address=ray_address, local_only=watch or annotated or dicom_out is not None)
    if engine == "local":
        local.check_load(workers or usable_cores(), batch_size or 1)
    model, parameters = local.load_for_scan(
        out,
        engine=engine,
        bundle=bundle,
        provider=provider,
        precision=precision,
        operating_point=operating_point,
        unsure=not no_unsure,
        prevalence=prevalence,
        test_time_augmentation=test_time_augmentation,
        gate=not no_gate,
        batch_size=batch_size,
        explain=explain,
        explain_if=explain_if,
        waiting=watch,
    )
    out = out.absolute()
    results = _result_sink(dicom_out, model, parameters, report=sr, gsps=gsps, mode=permissions)
    discovery = Discovery(
        tuple(path.absolute() for path in inputs),
        recursive=recursive,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        output=out,
    )
    drift: tuple[str, ...] = ()
    if engine == "ray":
        from cxr_edge.scan import cluster

        tally = cluster.scan_on_cluster(
            discovery,
            parameters,
            out=out,
            bundle=bundle.absolute() if bundle else None,
            address=ray_address,
            workers=workers,
            pictures="html" in reports,
            mode=permissions,
            skip_bad=skip_bad,
        )
        stopped = False
        # The records are Parquet already.
        if others := tuple(name for name in reports if name != "parquet"):
            drift = write_reports(out, formats=others).drift
    else:
        tally, stopped = local.scan_locally(
            model,
            discovery,
            parameters,
            out=out,
            workers=workers or usable_cores(),
            pictures="html" in reports,
            annotated=annotated,
            sinks=results,
            mode=permissions,
            skip_bad=skip_bad,
            arrivals=_watch(discovery, poll) if watch else None,
            refresh=partial(write_reports, out, formats=reports) if reports else None,
        )
        if reports and (not stopped or watch):
            drift = write_reports(out, formats=reports).drift
    without = _name_failures(results)
    _say(str(tally), drift)
    if stopped and not watch:
        say(printable(f"Stopped; the same command goes on from here: {out}"), "warning")
        raise typer.Exit(130)
    if not tally.total and not watch:
        raise InputError("no images found; expected JPEG, PNG, TIFF, BMP or DICOM files", kind="no-images")
    if tally.errors or tally.refused or without:
        raise typer.Exit(InputError.exit_code)


def _check_engine(engine: str, *, address: str | None, local_only: bool) -> None:
    from cxr_edge.errors import UsageError

    if engine == "ray" and local_only:
        raise UsageError("--engine ray has no --watch, --annotated or --dicom-out", cure="take --engine local")
    if address and engine != "ray":
        raise UsageError("--ray-address needs --engine ray")


def _result_sink(
    folder: Path | None,
    model: "Model",
    parameters: "Parameters",
    *,
    report: Literal["comprehensive3d", "enhanced"],
    gsps: bool,
    mode: int,
) -> "tuple[ResultSink, ...]":
    """Give what writes DICOM results, nothing where none are asked for."""
    if folder is None:
        return ()
    from cxr_edge.clinic.results import ResultOptions, ResultSink

    return (ResultSink(folder, model, parameters, options=ResultOptions(report=report, gsps=gsps), mode=mode),)


def _name_failures(results: "tuple[ResultSink, ...]") -> bool:
    """Say which DICOM inputs have no result; False where all have."""
    failures = [failure for sink in results for failure in sink.failures]
    for failure in failures:
        say(printable(f"no DICOM result: {failure.error}"), "error")
    return bool(failures)


def _say(counts: str, drift: Sequence[str]) -> None:
    from cxr_edge.results.record import RESEARCH_USE

    typer.echo(counts)
    for sentence in drift:
        say(printable(sentence), "warning")
    say(RESEARCH_USE)


def _watch(discovery: "Discovery", poll: float | None) -> "Arrivals":
    from cxr_edge.scan.watching import watch_for  # needs the watch extra

    return lambda _, stop: watch_for(discovery, stop, poll=poll)


def _check_watch(*, watch: bool, poll: float | None) -> None:
    from importlib.util import find_spec

    from cxr_edge.errors import UsageError

    if poll is not None and not watch:
        raise UsageError("--poll says how --watch looks for files", cure="add --watch")
    if watch and not find_spec("watchfiles"):
        cure = "run pip install 'cxr-edge[watch]', or scan again now and then"
        raise UsageError("--watch needs watchfiles", cure=cure)


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Refuse an output folder that is an input under any of its names."""
    from cxr_edge.errors import UsageError

    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        problem = f"--out {out} is an input: results would lie among radiographs"
        raise UsageError(problem, cure="take another folder")
