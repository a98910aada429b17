"""``cxr-export``: make, measure, change and sign bundles."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.errors import CxrEdgeError

if TYPE_CHECKING:
    from cxr_edge.bundle.bundle import Bundle

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trained Keras networks to cxr-edge bundles, proved equal, and made smaller.",
)

RunFolder = Annotated[Path, typer.Option("--run", help="A folder written by cxr-train fit.")]
BundleFolder = Annotated[Path, typer.Argument(help="A folder written by cxr-export bundle.")]
Split = Annotated[str, typer.Option(help="Which folder of the data the radiographs come from.")]
Data = Annotated[Path | None, typer.Option(help="The Kaggle folder; without it, the one that the run was trained on.")]


@app.command()
def bundle(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    data: Data = None,
    split: Split = "test",
    dataset: Annotated[
        Path | None,
        typer.Option(help="JSON with name, licence, citation, population, labelling; else the Kermany set's."),
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1.0.0",
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Convert a trained network and its Grad-CAM to ONNX, with a manifest and a model card."""
    from cxr_export.bundle import check_replaceable, write_bundle
    from cxr_train.dataset import KERMANY, Dataset

    # What is quick to refuse comes before TensorFlow is loaded.
    check_replaceable(out, force=force)
    about = KERMANY if dataset is None else Dataset.read(dataset)

    from cxr_train.runs import Run

    _ = Run.open(run)

    from cxr_export.convert import Exportable

    network = Exportable.open(run)
    folder = network.run.data_folder(data)
    made, report = write_bundle(network, out, data=folder, split=split, dataset=about, version=version, force=force)
    _say({"bundle": made.to_json(), "golden": report.to_json()})


@app.command()
def verify(bundle: BundleFolder, run: RunFolder, data: Data = None, split: Split = "test") -> None:
    """Compare a bundle with the Keras network it was made from, on 64 radiographs and on noise."""
    from cxr_export.bundle import ParityError
    from cxr_export.bundle import verify as compare
    from cxr_export.convert import Exportable

    opened = _open(bundle)
    network = Exportable.open(run)
    report = compare(opened, network, data=network.run.data_folder(data), split=split)
    _say(report.to_json())
    if report.faults:
        raise ParityError(f"{bundle}: {'; '.join(report.faults)}; export it again from {run}")


@app.command()
def quantize(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="The Kaggle folder: calibrated on its train, measured on --split.")],
    split: Split = "test",
) -> None:
    """Add an int8 classifier to a bundle, with the loss it costs."""
    from cxr_export.int8 import quantize_bundle

    _say(quantize_bundle(_open(bundle), data=data, split=split).to_json())


@app.command()
def losses(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="The Kaggle folder: measured on its --split.")],
    split: Split = "test",
) -> None:
    """Measure what every precision that runs here costs against fp32, and state it as the bound to keep to."""
    from cxr_export.losses import measure_losses

    _say(measure_losses(_open(bundle), data=data, split=split))


@app.command()
def calibrate(
    bundle: BundleFolder,
    calibration: Annotated[Path, typer.Option(help="What cxr-train calibrate --bundle BUNDLE --out FILE wrote.")],
) -> None:
    """Put another temperature and other operating points into a bundle; quantize and audit it again afterwards."""
    from cxr_export.attach import recalibrate

    _say(recalibrate(_open(bundle), calibration).to_json())


def adapt(
    data: Annotated[
        Path,
        typer.Option(help="Your radiographs, DICOM too: a folder for each label, or a CSV with file,label[,patient]."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    from_bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="The bundle's folder.", show_default="the one that comes with the package"),
    ] = None,
    labels: Annotated[
        str, typer.Option(metavar="NORMAL,PNEUMONIA", help="What your folders or your CSV call the two.")
    ] = "NORMAL,PNEUMONIA",
) -> None:
    """Fit a bundle's calibration, thresholds and scope to your own hospital, judged on patients left out."""
    from cxr_export.adapt import adapt as fit_to_hospital
    from cxr_train.dataset import two_names

    _say(fit_to_hospital(bundle=from_bundle, data=data, out=out, names=two_names(labels)))


@app.command()
def gate(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="The Kaggle folder: learned from and chosen on its train.")],
) -> None:
    """Have a bundle refuse what is no chest radiograph."""
    from cxr_export.gate import add_gate

    _say(add_gate(_open(bundle), data=data).to_json())


@app.command()
def scope(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="The Kaggle folder: learned from and chosen on its train.")],
    elsewhere: Annotated[
        list[Path], typer.Option(help="A folder of radiographs of one other source, such as a hospital; repeatable.")
    ],
) -> None:
    """Have a bundle give no label to radiographs that are not like those that its network learned from."""
    from cxr_edge.bundle.bundle import Bundle
    from cxr_export.scope import add_scope

    _say(add_scope(Bundle.open(bundle), data=data, elsewhere=elsewhere).to_json())


@app.command()
def lungs(
    bundle: BundleFolder,
    run: Annotated[Path, typer.Option(help="A folder written by cxr-train lungs.")],
) -> None:
    """Have a bundle outline the lungs, so that explanations say how much of the evidence lies in them."""
    from cxr_export.attach import add_lungs

    _say(add_lungs(_open(bundle), run=run).to_json())


@app.command()
def layercam(bundle: BundleFolder) -> None:
    """Have a bundle map its answer at finer layers as well, from its own classifier; needs neither data nor a run."""
    from cxr_export.layercam import add_layercam

    _say(add_layercam(_open(bundle)))


@app.command()
def split(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="The Kaggle folder that it was trained on.")],
) -> None:
    """Have a bundle of an earlier export state which patients were held out."""
    from cxr_export.attach import add_split

    found = add_split(_open(bundle), data=data)
    _say({"seed": found.seed, "learned": len(found.learned), "held_out": len(found.held_out)})


@app.command()
def upgrade(
    bundle: BundleFolder,
    version: Annotated[str, typer.Option(help="The bundle's new version.")],
) -> None:
    """Write a bundle of an earlier release anew: same weights and answers, present schema, complete self-test."""
    from cxr_export.attach import upgrade_bundle

    _say(upgrade_bundle(_open(bundle), version=version).to_json())


@app.command()
def card(
    bundle: BundleFolder,
    audit: Annotated[Path, typer.Option(help="The audit.json that cxr-train audit wrote for this bundle.")],
) -> None:
    """Have a bundle's model card quote an audit of it."""
    from cxr_export.attach import add_audit

    _say(add_audit(_open(bundle), audit))


@app.command()
def sign(
    bundle: BundleFolder,
    key: Annotated[Path, typer.Option(help="An Ed25519 private key (PEM): openssl genpkey -algorithm ed25519.")],
) -> None:
    """Sign a bundle, so that cxr-edge verify --require-signature can tell who made it; every change wants it anew."""
    from cxr_edge.bundle.signature import sign_bundle

    _say({"signature": str(sign_bundle(_open(bundle), key))})


def main() -> None:
    """Runs the command line; an error that a user can mend is one message and its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except CxrEdgeError as error:
        print(f"cxr-export: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


def _open(folder: Path) -> Bundle:
    from cxr_edge.bundle.bundle import Bundle  # NumPy behind it takes its time

    return Bundle.open(folder)


def _say(result: object) -> None:
    print(json.dumps(result, indent=2))  # noqa: T201  # results go to stdout
