"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.runtime.providers import Provider


def path(text: str | Path) -> Path:  # its name is what help and messages call the type
    """Read a path; an empty one would mean the current folder, and is mostly an unset variable."""
    if text == "":
        raise typer.BadParameter("an empty path; is a variable unset? The current folder is .")
    return Path(text)


Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE|FOLDER",
        parser=path,
        help="JPEG, PNG, TIFF, BMP or DICOM; folders are searched with their sub-folders.",
        show_default=False,
    ),
]
OptionalInputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE|FOLDER",
        parser=path,
        help="JPEG, PNG, TIFF, BMP or DICOM; folders are searched with their sub-folders; - reads names from standard"
        " input, one a line.",
        show_default=False,
    ),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of another bundle than the installed one.", show_default=False)
]
ProviderOption = Annotated[
    Provider,
    typer.Option(
        help="Where to compute. auto takes what cxr-edge tune chose, else CUDA if it starts, else the CPU; the others"
        " run there or fail."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads for one inference; fewer where other programs are busy.",
        show_default="the cores this process may use",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|int8|bf16",
        help="How to compute. auto takes what cxr-edge tune chose for this machine, with fp32's labels; else fp32.",
    ),
]
TestTimeAugmentation = Annotated[
    bool,
    typer.Option(
        "--test-time-augmentation",
        "--tta",
        help="Ask about 13 slightly changed copies of each input, too, and state the spread; costs 14 times as much.",
    ),
]
NoGate = Annotated[
    bool,
    typer.Option("--no-gate", help="Answer what is no chest radiograph, or unlike those that the network knows, too."),
]
OperatingPointOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Decision threshold to use.", show_default="the bundle's default")
]
NoUnsure = Annotated[
    bool, typer.Option("--no-unsure", help="Decide for the nearer threshold where the network is unsure.")
]
Prevalence = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="How frequent pneumonia is among your patients, as 0.3: re-weighs the probability, leaves the label.",
        show_default="the bundle's",
    ),
]
OutputMode = Annotated[
    str, typer.Option("--mode", metavar="OCTAL", help="Permissions of the folders that are made: 700 is you alone.")
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Leave out lines of results.jsonl that are no records, and keep them in results.bad.jsonl."
    ),
]
