"""``cxr-train``: fit, network, calibrate, evaluate, audit, site, lungs, and with the export package adapt."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.errors import CxrEdgeError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

Data = Annotated[Path, typer.Option(help="The Kaggle folder: {train,val,test}/{NORMAL,PNEUMONIA}, at any image size.")]


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder to write: checkpoint, history, figures, metrics.")],
    arch: Annotated[str, typer.Option(help="mobilenet or small-cnn.")] = "mobilenet",
    recipe: Annotated[str, typer.Option(help="default or study.")] = "default",
    weights: Annotated[
        str, typer.Option(help="imagenet, a .weights.h5 file, none, or a .keras file to go on from.")
    ] = "imagenet",
    masks: Annotated[
        Path | None, typer.Option(help="Lung masks <split>/<label>/<stem>.png, used in training only.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the held-out patients, the order and every variation.")] = 0,
    fold: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Hold out the K-th of N equal parts of the patients, for calibrate --folds."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch of --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew in an --out that already holds a run.")] = False,
) -> None:
    """Train a network, calibrate it on held-out patients, and measure it there."""
    from cxr_train.training import train

    train(
        data=data,
        out=out,
        arch=arch,
        recipe_name=recipe,
        weights=weights,
        masks=masks,
        epochs=epochs,
        seed=seed,
        fold=_fold(fold),
        resume=resume,
        force=force,
    )


def _fold(text: str | None) -> tuple[int, int] | None:
    from cxr_edge.errors import UsageError

    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) and int(of) > 1):
        raise UsageError(f"fold {text!r}; expected K/N, such as 1/5")
    return int(number), int(of)


@app.command()
def network(
    bundle: Annotated[Path, typer.Option(help="The bundle's folder.")],
    out: Annotated[Path, typer.Option(help="The .keras file to write.")],
) -> None:
    """Write a bundle's network as a Keras model, which fit --weights goes on from."""
    from cxr_edge.bundle.bundle import Bundle
    from cxr_train.network import write_network

    difference = write_network(Bundle.open(bundle), out)
    typer.echo(f"{out}: log-odds within {difference:.1g} of the bundle's")


@app.command()
def calibrate(
    data: Data,
    run: Annotated[Path | None, typer.Option(help="A folder written by cxr-train fit.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle, where the run is not at hand; needs --out.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write for cxr-export calibrate.")] = None,
    folds: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder written by cxr-train fit --fold K/N, once for each K: thresholds from all patients."
        ),
    ] = None,
) -> None:
    """Choose temperature and operating points anew, on the patients that the training held out."""
    from cxr_edge.errors import UsageError

    if (run is None) == (bundle is None) or (bundle is None) != (out is None):
        raise UsageError("name either --run RUN, or --bundle BUNDLE with --out FILE")

    from cxr_train.evaluation import calibrate_again, calibrate_bundle

    if run is not None:
        calibrate_again(run=run, data=data, folds=folds or ())
    elif bundle is not None and out is not None:
        calibrate_bundle(bundle=bundle, data=data, out=out, folds=folds or ())


@app.command()
def evaluate(
    run: Annotated[Path, typer.Option(help="A folder written by cxr-train fit.")],
    data: Data,
    split: Annotated[str, typer.Option(help="train, val or test, as published.")] = "test",
) -> None:
    """Measure a trained network on a published split; nothing is chosen on it."""
    from cxr_train.evaluation import evaluate_split

    evaluate_split(run=run, data=data, split=split)


@app.command()
def audit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for audit.json, audit.html and figures.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle's folder.", show_default="the one that comes with the package")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test, as published.")] = "test",
    masks: Annotated[
        Path | None, typer.Option(help="Lung masks <split>/<label>/<stem>.png: does the evidence lie in the lungs?")
    ] = None,
    others: Annotated[
        Path | None, typer.Option(help="Pictures that are no chest radiographs, <kind>/*: what does the gate refuse?")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="Full-size originals <label>/<name> of images in --data: same answer?")
    ] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="The audit.json of another bundle, to stand beside this one; repeatable.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the bundle on the page.", show_default="its name and version")
    ] = None,
    lime: Annotated[
        int | None, typer.Option(min=0, help="Images of each class that LIME explains.", show_default="all")
    ] = None,
    resamples: Annotated[int, typer.Option(min=10, help="Bootstrap samples behind each interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    precision: Annotated[str, typer.Option(metavar="fp32|int8", help="Which of the bundle's networks.")] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for one inference.", show_default="every usable core")
    ] = None,
) -> None:
    """Show what a bundle is worth and where it fails, on one page for a reviewer; it needs no Keras."""
    from cxr_train.audit import Plan
    from cxr_train.audit import audit as measure

    plan = Plan(
        bundle=bundle,
        data=data,
        split=split,
        masks=masks,
        others=others,
        originals=originals,
        name=name,
        lime=lime,
        resamples=resamples,
        seed=seed,
        precision=precision,
        threads=threads,
        beside=tuple(beside or ()),
    )
    values = measure(plan, out)
    for bar in values["bars"]:
        state = {True: "met", False: "MISSED", None: "-"}[bar["met"]]
        typer.echo(f"{state:7}{bar['shown']:>14}   {bar['what']} ({bar['limit']})")
    typer.echo(f"{out / 'audit.html'}", err=True)


@app.command()
def site(
    data: Annotated[
        Path,
        typer.Option(help="Your radiographs, DICOM too: a folder for each label, or a CSV with file,label[,patient]."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for site.json and site.html.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle's folder.", show_default="the one that comes with the package")
    ] = None,
    labels: Annotated[
        str, typer.Option(metavar="NORMAL,PNEUMONIA", help="What your folders or your CSV call the two.")
    ] = "NORMAL,PNEUMONIA",
) -> None:
    """Test a bundle on the radiographs of your own hospital: fit for use there, fit after recalibration, or not."""
    from cxr_train.dataset import two_names
    from cxr_train.site import acceptance_test

    values = acceptance_test(bundle=bundle, data=data, out=out, names=two_names(labels))
    typer.echo(values["verdict"])
    for reason in values["reasons"]:
        typer.echo(f"  {reason}")
    typer.echo(f"{out / 'site.html'}", err=True)


@app.command()
def lungs(
    data: Data,
    masks: Annotated[Path, typer.Option(help="Lung masks <split>/<label>/<stem>.png: 0 outside, 255 lung.")],
    out: Annotated[Path, typer.Option(help="Run folder to write: checkpoint and metrics.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 6,
    seed: Annotated[int, typer.Option(help="Decides the held-out patients, the order and every variation.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Start anew in an --out that already holds a run.")] = False,
) -> None:
    """Train the small network that outlines the lungs, and measure it on held-out patients."""
    from cxr_train.lungs import train_lungs

    train_lungs(data=data, masks=masks, out=out, epochs=epochs, seed=seed, force=force)


for _entry in entry_points(group="cxr_train.commands"):  # of packages that know this one, not the other way round
    app.command(_entry.name)(_entry.load())


def main() -> None:
    """Runs the command line; an error that a user can mend is one message and its exit code."""
    try:
        app()
    except CxrEdgeError as error:
        print(f"cxr-train: {error}", file=sys.stderr)  # noqa: T201  # the one place where errors reach the terminal
        sys.exit(error.exit_code)
