"""Where results are written: folders of the user alone, names that cannot escape, one place for each input.

An output folder carries `cxr_edge.files.MARKER`, so that it is never searched for inputs, and is open to its owner
alone unless the user says otherwise: results name patients' files, and thumbnails show patients. What is written into
it follows no symbolic link that somebody put there.
"""

import json
import os
import stat
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from cxr_edge.errors import InputError, OutputError, UsageError
from cxr_edge.files import MARKER
from cxr_edge.reading.picture import SUFFIXES

ASSETS = "assets"
THUMBNAIL, HEAT_MAP, RADIOGRAPH = "thumbnail.jpg", "gradcam.jpg", "radiograph.jpg"
HEAT_LAYER, LIME_LAYER, LUNGS_LAYER = "gradcam.png", "lime.png", "lungs.png"  # transparent, laid over the radiograph
FINE_LAYER, SHAP_LAYER = "layercam.png", "shap.png"  # likewise, on the local page where asked
FIGURE = "figure.png"  # of earlier scans, which had no layers
PICTURES = (THUMBNAIL, HEAT_MAP, FIGURE, RADIOGRAPH, HEAT_LAYER, LIME_LAYER, LUNGS_LAYER, FINE_LAYER, SHAP_LAYER)


def assets_of(sha256: str) -> Path:
    """Give the folder of a content's pictures, relative to the output folder.

    Args:
        sha256: The hash of the content, 64 hexadecimal digits.
    """
    return Path(ASSETS, sha256[:2], sha256)


PRIVATE = 0o700
_LONGEST = 150  # bytes of a name before what is appended: file systems take 255
_UNSAFE = frozenset('/\\:*?"<>|')


def parse_mode(text: str) -> int:
    """Read the permissions of an output folder, such as ``750``.

    Raises:
        UsageError: They are no octal number that leaves the folder usable for its owner.
    """
    mode = int(text, 8) if text and set(text) <= set("01234567") else -1
    if not PRIVATE <= mode <= 0o7777 or mode & PRIVATE != PRIVATE:
        problem = f"--mode {text!r}; expected octal permissions with 7 for the owner, such as 700, 750 or 770"
        raise UsageError(problem)
    return mode


def make_output_folder(path: Path, mode: int = PRIVATE) -> None:
    """Make a folder for results, and mark it as one.

    A folder that is there already keeps its permissions, and gets the mark only if it is empty: a user's own folder
    stays one that is searched for inputs.

    Args:
        path: The folder; missing ones above it are made with the same permissions, but get no mark.
        mode: Permissions of the folders that are made.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    for folder in (*reversed(path.parents), path):
        _make(folder, mode)
    if not path.is_dir():
        raise NotADirectoryError(20, "something else has its name", os.fspath(path))
    if not any(path.iterdir()):
        _mark(path)


def make_folder_below(root: Path, below: Path | str) -> Path:
    """Make a folder inside an output folder, with that folder's permissions; no symbolic link is followed on the way.

    Args:
        root: The output folder.
        below: Path relative to it; its first folder gets the mark.

    Returns:
        The folder.

    Raises:
        OSError: It cannot be made, or a link or a file has its name.
    """
    folder, mode = root, root.stat().st_mode & 0o777
    for depth, part in enumerate(Path(below).parts):
        folder /= part
        if _make(folder, mode) and depth == 0:
            _mark(folder)
        if folder.is_symlink() or not folder.is_dir():
            raise NotADirectoryError(20, "a link or a file has this name", os.fspath(folder))
    return folder


def file_mode(folder: Path) -> int:
    """Give the permissions of a file in an output folder: the folder's, without those to execute."""
    return folder.stat().st_mode & 0o666


def open_output(path: Path) -> int:
    """Open a file of an output folder for reading and writing, as open as the folder; made if it is missing.

    Returns:
        The file descriptor.

    Raises:
        UsageError: A link, or no regular file, has its name: what somebody put there is neither read nor written.
        OSError: It cannot be opened.
    """
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        path.chmod(file_mode(path.parent))
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            problem = "a link or no regular file, which cxr-edge did not make"
            raise UsageError(problem, cure="delete it", path=path) from None
        file = os.open(path, flags)
    return file


def unwritable(path: Path, error: OSError) -> OutputError:
    """Give the error of a folder or file that the operating system does not let us write."""
    cure = "check its permissions and the space left"
    return OutputError(f"cannot be written ({error.strerror})", cure=cure, path=path)


def output_name(path: Path) -> str:
    """Name an input's results: its file name without a suffix that is a picture's, so that UIDs keep their last part.

    The name is a single part of a path, is not hidden and has no character that a file system refuses.
    """
    name = path.name
    if path.suffix.lower() in SUFFIXES or name.lower() in SUFFIXES:
        name = name[: name.rindex(".")]
    name = "".join(character if _is_safe(character) else "_" for character in name).strip(". ")
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return name or "radiograph"


def output_place(out: Path, path: Path, *, mode: int = PRIVATE) -> Path:
    """Take the folder of an input's results: the same one whenever the same input is given, and no other input's.

    It is ``OUT/NAME``; where another input has that already, ``OUT/NAME-HASH`` with the hash of the input's path. Whose
    a folder is stands in its mark, which is written before anything else.

    Args:
        out: The output folder; made if it is missing.
        path: The input.
        mode: Permissions of what is made.

    Raises:
        InputError: Folders of those names are there and hold something else.
        OutputError: The folder cannot be made.
    """
    owner = _hash(path)
    places = (out / output_name(path), out / f"{output_name(path)}-{owner[:8]}")
    try:
        make_output_folder(out, mode)
        for place in places:
            if not place.is_symlink() and _owner(place) == owner:
                return place
        for place in places:
            if (_make(place, mode) or _is_empty(place)) and _mark(place, owner):
                return place
    except OSError as error:
        raise unwritable(out, error) from error
    problem = f"{places[0]} holds something else, and so does {places[1].name}"
    raise InputError(problem, kind="exists", cure="take another folder with --out", path=path)


def _hash(path: Path | str) -> str:
    return blake2b(os.fsencode(os.path.realpath(path)), digest_size=16).hexdigest()


def _owner(place: Path) -> str | None:
    """Say whose results a folder holds; None if that is unknown. The first release wrote the path into the record."""
    with suppress(OSError, ValueError):
        if owner := (place / MARKER).read_text("ascii"):
            return owner
    with suppress(OSError, ValueError, KeyError, TypeError):
        return _hash(json.loads((place / "explanation.json").read_bytes())["path"])
    return None


def _make(folder: Path, mode: int) -> bool:
    """Make a folder; False if there is something already."""
    try:
        folder.mkdir(mode=PRIVATE)
    except FileExistsError:
        return False
    except OSError:
        if folder.is_dir():  # a drive, or a share whose root nobody may make
            return False
        raise
    folder.chmod(mode)  # what is given to mkdir is cut by the umask
    return True


def _mark(folder: Path, owner: str = "") -> bool:
    """Write the mark; False if there is one already."""
    try:
        with (folder / MARKER).open("x", encoding="ascii") as mark:
            (folder / MARKER).chmod(file_mode(folder))
            mark.write(owner)
    except FileExistsError:
        return False
    return True


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _is_safe(character: str) -> bool:
    """Say whether a character may stand in a name; bytes that are no UTF-8 may, as they do in the input's name."""
    return character not in _UNSAFE and (character.isprintable() or "\udc80" <= character <= "\udcff")
