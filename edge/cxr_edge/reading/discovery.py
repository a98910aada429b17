"""Folders → image files, one after the other as the file system lists them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from cxr_edge.errors import InputError
from cxr_edge.reading.inputs import holds_image


@dataclass(frozen=True)
class Discovery:
    """What is to be looked for, and where.

    Nothing is sorted and no folder is listed whole, so that the first file of millions is there at once. Links to
    folders are not followed: a loop of them would never end.

    Attributes:
        inputs: Absolute paths of files, which are taken as they are, and of folders.
        recursive: Whether sub-folders are searched.
        include: Globs; where any is given a file must match one. A glob with a slash is held against the path below
            the input folder, another against the file's name.
        exclude: Globs of files and of folders to leave out, matched alike.
        output: A folder that is never searched: the scan's own.
    """

    inputs: tuple[Path, ...]
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output: Path | None = None

    def find(self) -> Iterator[Path | InputError]:
        """Give every file to answer, and an error for every folder that cannot be read."""
        for path in self.inputs:
            if path.is_dir():
                yield from self.find_in(path, below=path)
            else:
                yield path

    def find_in(self, folder: Path, *, below: Path) -> Iterator[Path | InputError]:
        """Search one folder, with globs relative to the input folder ``below``."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                with os.scandir(current) as entries:
                    for entry in entries:
                        path = Path(entry.path)
                        if entry.is_dir(follow_symlinks=False):
                            if self.recursive and self._enters(path, below):
                                waiting.append(path)
                        elif not (entry.is_symlink() and path.is_dir()) and self.wants(path, below):
                            yield path
            except OSError as error:
                problem = f"the folder cannot be read ({error.strerror}); check its permissions"
                yield InputError(problem, kind="unreadable", path=current)

    def wants(self, path: Path, below: Path) -> bool:
        """Say whether a file below an input folder is to be answered."""
        return (
            (not self.include or _matches(path, below, self.include))
            and not _matches(path, below, self.exclude)
            and holds_image(path)
        )

    def reaches(self, path: Path, below: Path) -> bool:
        """Say whether every folder between an input folder and a path is searched."""
        between = [folder for folder in path.parents if folder != below and folder.is_relative_to(below)]
        return all(self._enters(folder, below) for folder in between)

    def _enters(self, folder: Path, below: Path) -> bool:
        hidden = folder.name.startswith(".")
        return not hidden and folder != self.output and not _matches(folder, below, self.exclude)


def _matches(path: Path, below: Path, globs: Sequence[str]) -> bool:
    return any(fnmatch(path.relative_to(below).as_posix() if "/" in glob else path.name, glob) for glob in globs)
