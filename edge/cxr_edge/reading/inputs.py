"""Files and folders as they were named → image files, in order."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cxr_edge.errors import InputError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"})


def find_images(paths: Iterable[Path]) -> Iterator[Path | InputError]:
    """List the images to answer.

    A file is taken as it is. A folder is searched with all its sub-folders (links to folders are not followed) in the
    order of names, for files with an image suffix and for DICOM files under any name; hidden ones are left out.

    Args:
        paths: Files and folders.

    Yields:
        Paths in order, and errors of folders that cannot be read or hold no image.
    """
    for path in paths:
        if path.is_dir():
            yield from _images_in(path)
        else:
            yield path


def _images_in(folder: Path) -> Iterator[Path | InputError]:
    unreadable: list[OSError] = []
    found = False
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if holds_image(path):
                found = True
                yield path
    for error in unreadable:
        problem = f"the folder cannot be read ({error.strerror}); check its permissions"
        yield InputError(problem, kind="unreadable", path=Path(error.filename))
    if not found and not unreadable:
        problem = f"no images in this folder; expected {', '.join(sorted(SUFFIXES))} or DICOM files"
        yield InputError(problem, kind="no-images", path=folder)


def holds_image(path: Path) -> bool:
    """Say whether a file found in a folder is to be answered: by suffix, or as DICOM under any name; never hidden."""
    return not path.name.startswith(".") and (path.suffix.lower() in SUFFIXES or _is_dicom(path))


def _is_dicom(path: Path) -> bool:
    if not path.is_file():  # a pipe would block
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
