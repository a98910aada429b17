"""``cxr-edge explain``: files and folders → a folder of pictures and one JSON file for each."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.commands import options
from cxr_edge.explanation import (
    DEFAULT_SUPERPIXELS,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_SUPERPIXELS,
    PREDICTED,
    CamMethod,
    Fill,
    LimeOptions,
    Method,
    Mode,
    Score,
    Segmentation,
)
from cxr_edge.text import printable, say


def explain(
    paths: options.Inputs,
    out: Annotated[
        Path, typer.Option(parser=options.path, help="Folder to write into: a folder for each input.")
    ] = Path("explanations"),
    mode: options.OutputMode = "700",
    method: Annotated[
        Method,
        typer.Option(help="Which explanations: both are Grad-CAM and LIME; shap, Shapley values."),
    ] = "both",
    target: Annotated[str, typer.Option(metavar=f"{PREDICTED}|LABEL", help="Label to explain.")] = PREDICTED,
    cam: Annotated[CamMethod, typer.Option(help="Which map from features and gradients.")] = "gradcam",
    lime: Annotated[
        Mode, typer.Option(help="fast explains the log-odds; reference computes what the lime package does.")
    ] = "fast",
    segments: Annotated[Segmentation, typer.Option(help="How superpixels are made.")] = "slic",
    superpixels: Annotated[
        int, typer.Option(min=1, max=MAX_SUPERPIXELS, help="About how many superpixels.")
    ] = DEFAULT_SUPERPIXELS,
    stability: Annotated[
        float | None,
        typer.Option(
            help="Sample until this share of the top 5 superpixels is expected in another run.",
            show_default="0.9 or 112 samples",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=2, max=MAX_SAMPLES, help="Perturbations.", show_default="as stability needs; reference: 1000"),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds for LIME or SHAP instead of a stability.")] = None,
    fill: Annotated[Fill, typer.Option(help="What a hidden superpixel looks like.")] = "mean",
    second_fill: Annotated[
        Fill | None, typer.Option(help="Say how far the ranking changes under another fill; takes twice the time.")
    ] = None,
    score: Annotated[
        Score | None, typer.Option(help="What LIME explains.", show_default="logodds; reference: probability")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Seed of the perturbations.", show_default="from pixels and options"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace explanations that are there already.")] = False,
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
    gsps: options.Gsps = False,
) -> None:
    """Show where the network looked: Grad-CAM, LIME and Shapley values on the radiograph itself.

    Writes figure.png, the single pictures and explanation.json into OUT/NAME; a folder for another input of the same
    name is OUT/NAME-HASH. Research use only: not a medical device.
    Exits with 3 if some inputs could not be answered, or were refused because they look like no chest radiograph.
    """
    lime_options = LimeOptions(
        mode=lime,
        segments=segments,
        superpixels=superpixels,
        samples=samples,
        seed=seed,
        stability=stability,
        budget=budget,
        score=score,
        fill=fill,
        second_fill=second_fill,
    )
    from cxr_edge.results.output import parse_mode

    permissions = parse_mode(mode)
    options.check_clinic(dicom_out, report=sr, gsps=gsps)
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
        use="single" if method == "gradcam" else "lime",
        count=options.count_files(paths),
    )
    model.explainer.check(method=method, target=target, cam=cam)
    from cxr_edge.errors import InputError
    from cxr_edge.explanation.explainer import Explanation
    from cxr_edge.explanation.figures import explanation_folder, write_explanation
    from cxr_edge.reading.discovery import Discovery
    from cxr_edge.results.outcomes import Failure, attempt
    from cxr_edge.results.record import RESEARCH_USE

    write_dicom = partial(options.write_dicom, folder=dicom_out, report=sr, gsps=gsps, mode=permissions)

    def work(path: Path) -> tuple[Explanation, Path]:
        with explanation_folder(out, path, mode=permissions, force=force) as folder:
            answer = model.predict(path)
            if answer.refusal:
                write_dicom(answer, path)
            explanation = model.explainer.explain(
                answer, method=method, target=target, cam=cam, lime=lime_options, hiding=True
            )
            write_explanation(explanation, folder)
        return explanation, folder

    count = failures = 0
    search = Discovery(tuple(paths), output=out, ordered=True).find()
    for found in search:
        count += 1
        outcome = Failure.of(found) if isinstance(found, InputError) else attempt(found, partial(work, found))
        if isinstance(outcome, Failure):
            failures += 1
            say(printable(f"error: {outcome.error}"), "error")
            continue
        explanation, folder = outcome
        failures += not write_dicom(explanation.answer, Path(str(found)), explanation=explanation)
        prediction = explanation.answer.prediction
        typer.echo(printable(f"{prediction.label:<10}  {prediction.probability:.4f}  {folder / 'figure.png'}"))
        evidence = explanation.evidence
        for sentence in (evidence.place, evidence.sentence) if evidence is not None else ():
            if sentence:
                typer.echo(printable(f"{'':<10}  {sentence}"))
        for warning in explanation.warnings:
            say(printable(f"warning: {found}: {warning}"), "warning")
    if search.summary:
        say(search.summary)
    say(RESEARCH_USE)
    if failures:
        say(f"{failures} of {count} inputs could not be answered.", "error")
        raise typer.Exit(InputError.exit_code)
