"""``cxr-edge explain``: files and folders → a folder of pictures and one JSON file for each."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable

if TYPE_CHECKING:
    from cxr_edge.explanation.explainer import Explanation

_RECORD = "explanation.json"


def explain(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER",
            help="JPEG, PNG, TIFF, BMP or DICOM; folders are searched with their sub-folders.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into: a folder for each input.")] = Path("explanations"),
    method: Annotated[Literal["gradcam", "lime", "both"], typer.Option(help="Which explanations.")] = "both",
    target: Annotated[str, typer.Option(metavar="predicted|LABEL", help="Label to explain.")] = "predicted",
    cam: Annotated[
        Literal["gradcam", "hirescam", "gradcam++"], typer.Option(help="Which map from features and gradients.")
    ] = "gradcam",
    lime: Annotated[
        Literal["fast", "reference"],
        typer.Option(help="fast explains the log-odds; reference computes what the lime package does."),
    ] = "fast",
    segments: Annotated[Literal["slic", "grid", "quickshift"], typer.Option(help="How superpixels are made.")] = "slic",
    superpixels: Annotated[
        int | None, typer.Option(min=1, help="About how many superpixels.", show_default="30")
    ] = None,
    stability: Annotated[
        float | None,
        typer.Option(
            help="Sample until this share of the top 5 superpixels is expected in another run.",
            show_default="0.9 or 112 samples",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Perturbations.", show_default="as stability needs; reference: 1000")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds for LIME instead of a stability.")] = None,
    score: Annotated[
        Literal["logodds", "probability"] | None,
        typer.Option(help="What LIME explains.", show_default="logodds; reference: probability"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the perturbations.", show_default="from pixels and options")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace explanations that are there already.")] = False,
    bundle: options.Bundle = None,
    provider: options.Provider = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "fp32",
    operating_point: options.OperatingPoint = None,
    test_time_augmentation: options.TestTimeAugmentation = False,
    no_gate: options.NoGate = False,
) -> None:
    """Show where the network looked: Grad-CAM and LIME on the radiograph itself.

    Writes figure.png, the single pictures and explanation.json into OUT/NAME. Research use only: not a medical device.
    Exits with 3 if some inputs could not be answered, or were refused because they look like no chest radiograph.
    """
    from cxr_edge.api import load
    from cxr_edge.errors import InputError
    from cxr_edge.explanation.explainer import LimeOptions
    from cxr_edge.explanation.superpixels import DEFAULT_COUNT
    from cxr_edge.reading.inputs import find_images
    from cxr_edge.results.record import RESEARCH_USE

    how = LimeOptions(
        mode=lime,
        segments=segments,
        superpixels=superpixels or DEFAULT_COUNT,
        samples=samples,
        seed=seed,
        stability=stability,
        budget=budget,
        score=score,
    )
    model = load(
        bundle,
        provider=provider,
        threads=threads,
        precision=precision,
        operating_point=operating_point,
        test_time_augmentation=test_time_augmentation,
        gate=not no_gate,
    )
    names: set[str] = set()
    count = failures = 0
    for found in find_images(paths):
        count += 1
        try:
            if isinstance(found, InputError):
                raise found
            folder = out / _free(found.stem, names)
            _check_free(folder, force=force)
            explanation = model.explain(found, method=method, target=target, cam=cam, lime=how)
            _write(explanation, folder)
        except InputError as error:
            failures += 1
            typer.echo(printable(f"error: {error}"), err=True)
            continue
        prediction = explanation.answer.prediction
        typer.echo(printable(f"{prediction.label:<10}  {prediction.probability:.4f}  {folder / 'figure.png'}"))
        if explanation.evidence is not None and explanation.evidence.sentence:
            typer.echo(f"{'':<10}  {explanation.evidence.sentence}")
        for warning in explanation.warnings:
            typer.echo(printable(f"warning: {found}: {warning}"), err=True)
    typer.echo(RESEARCH_USE, err=True)
    if failures:
        typer.echo(f"{failures} of {count} inputs could not be answered.", err=True)
        raise typer.Exit(InputError.exit_code)


def _free(stem: str, names: set[str]) -> str:
    """Number inputs of one name from several folders, in the order they were given."""
    name, number = stem, 1
    while name.casefold() in names:  # some file systems do not tell case apart
        number += 1
        name = f"{stem}-{number}"
    names.add(name.casefold())
    return name


def _check_free(folder: Path, *, force: bool) -> None:
    from cxr_edge.errors import InputError

    if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: exists already and is not replaced; take --force, or another folder with --out", kind="exists"
        )


def _write(explanation: "Explanation", folder: Path) -> None:
    """Write the pictures, then the record: where it lies, all lies."""
    from cxr_edge.errors import InputError
    from cxr_edge.explanation.figures import draw
    from cxr_edge.explanation.rendering import to_png
    from cxr_edge.files import write_atomically
    from cxr_edge.results.record import to_record

    record = folder / _RECORD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        names = []
        for name, picture in draw(explanation):
            write_atomically(folder / name, to_png(picture))
            names.append(name)
        part = explanation.to_part({name: name for name in names})
        content = to_record(explanation.answer, explanation=part, research_use=True).to_json()
        write_atomically(record, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii"))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); check its permissions and the space left",
            kind="unwritable",
        ) from error
