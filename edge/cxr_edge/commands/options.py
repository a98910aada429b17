"""The options that several commands share."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.runtime.providers import Provider
from cxr_edge.text import printable, say

if TYPE_CHECKING:
    from cxr_edge.explanation.explainer import Explanation
    from cxr_edge.results.outcomes import Answer


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
DicomOut = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write what each DICOM input is answered as DICOM objects of its study there (extra clinic).",
        show_default=False,
    ),
]
Report = Annotated[
    Literal["comprehensive3d", "enhanced"],
    typer.Option(help="With --dicom-out: the kind of SR; enhanced for archives that know no other."),
]
Gsps = Annotated[
    bool,
    typer.Option(
        "--gsps", help="With --dicom-out: draw leading regions and lungs over the radiograph in viewers that show GSPS."
    ),
]


def count_files(paths: list[Path] | None) -> int | None:
    """Give how many radiographs are named; None where a folder is searched for them."""
    return None if not paths or any(path.is_dir() for path in paths) else len(paths)


def check_clinic(dicom_out: Path | None, *, report: str, gsps: bool = False) -> None:
    """Check the options of DICOM results, before anything is read.

    Raises:
        UsageError: The extra is missing, or what needs ``--dicom-out`` is asked for without it.
    """
    from importlib.util import find_spec

    from cxr_edge.errors import UsageError

    if dicom_out is not None and not find_spec("highdicom"):
        raise UsageError("--dicom-out needs highdicom", cure="run pip install 'cxr-edge[clinic]'")
    if dicom_out is None and (gsps or report != "comprehensive3d"):
        raise UsageError("--sr and --gsps say what --dicom-out writes", cure="add --dicom-out DIR")


def write_dicom(
    answer: "Answer",
    found: Path,
    folder: Path | None,
    *,
    explanation: "Explanation | None" = None,
    report: Literal["comprehensive3d", "enhanced"],
    gsps: bool = False,
    mode: int = 0o700,
) -> bool:
    """Write the DICOM results of an input, if that is asked for.

    Returns:
        False where a DICOM file gets none; the reason is printed. Other pictures have no study to be in.
    """
    if folder is None:
        return True
    from cxr_edge.clinic.results import ResultOptions, write_results
    from cxr_edge.results.outcomes import Failure, attempt

    options = ResultOptions(report=report, gsps=gsps)
    write = partial(write_results, found, answer, folder, explanation=explanation, options=options, mode=mode)
    done = attempt(found, write)
    if not isinstance(done, Failure):
        return True
    say(printable(f"no DICOM result: {done.error}"), "error")
    return done.error.kind == "no-dicom"
