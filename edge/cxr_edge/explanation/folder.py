"""An explanation → its folder of pictures with their record, all of it or nothing."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from cxr_edge.errors import InputError, OutputError
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import PICTURE_NAMES, draw
from cxr_edge.explanation.rendering import to_png
from cxr_edge.files import MARKER, write_atomically
from cxr_edge.results.output import PRIVATE, file_mode, output_place
from cxr_edge.results.record import to_record

RECORD = "explanation.json"
_OURS = frozenset({MARKER, RECORD, *PICTURE_NAMES})
_BY_THE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@contextmanager
def explanation_folder(out: Path, path: Path, *, mode: int = PRIVATE, force: bool = False) -> Iterator[Path]:
    """Take the folder of an input's explanation while it is made; given back if nothing was written.

    Args:
        out: The output folder; made if it is missing.
        path: The input.
        mode: Permissions of the folders that are made.
        force: Whether an explanation that is there already is replaced.

    Yields:
        The folder, see `output_place`.

    Raises:
        InputError: It holds an explanation already, or what this program did not write.
        OutputError: It cannot be made.
    """
    folder = output_place(out, path, mode=mode)
    present = {each.name for each in folder.iterdir()} - {MARKER} - _BY_THE_SYSTEM
    if foreign := sorted(present - _OURS):
        problem = (
            f"its folder {folder} holds {foreign[0]}, which this program did not write, so that it is not replaced"
        )
        raise InputError(problem, kind="exists", cure="move that, or take another folder with --out", path=path)
    if present and not force:
        problem = f"explained already in {folder}, which is not replaced"
        raise InputError(problem, kind="exists", cure="take --force, or another folder with --out", path=path)
    try:
        yield folder
    finally:
        if {each.name for each in folder.iterdir()} == {MARKER}:
            shutil.rmtree(folder, ignore_errors=True)


def write_explanation(explanation: Explanation, folder: Path) -> None:
    """Draw an explanation into its folder, and replace what is there as a whole.

    The files are written into a hidden folder beside it, which then takes its place: pictures of two radiographs never
    lie together, and a crash leaves the former explanation or the new one.

    Args:
        explanation: What to write.
        folder: From `explanation_folder`.

    Raises:
        OutputError: There is no space, no permission, or the folder is gone.
    """
    beside: Path | None = None
    try:
        beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        new, former = beside / "new", beside / "former"
        new.mkdir()
        new.chmod(folder.stat().st_mode & 0o7777)
        mode = file_mode(new)
        with suppress(FileNotFoundError):  # a folder of the first release has no mark; its record says whose it is
            write_atomically(new / MARKER, (folder / MARKER).read_bytes(), mode=mode)
        files = {}
        for name, picture in draw(explanation):
            write_atomically(new / name, to_png(picture), mode=mode)
            files[name] = name
        record = to_record(explanation.answer, explanation=explanation.to_part(files), research_use=True)
        text = json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n"
        write_atomically(new / RECORD, text.encode("ascii"), mode=mode)
        folder.rename(former)
        try:
            new.rename(folder)
        except OSError:
            former.rename(folder)
            raise
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise OutputError(problem, cure="check its permissions and the space left", path=folder) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
