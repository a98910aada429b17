"""Files and folders as they were named → files to answer, and a count of what was left out."""

import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from cxr_edge.errors import InputError
from cxr_edge.files import FORMER_MARKERS, MARKER, STAMP
from cxr_edge.reading.picture import HEAD, SUFFIXES, Format, format_of, holds_radiograph

Identity = tuple[int, int]
"""Device and inode: the same for one folder under any of its names."""
HIDDEN, EXCLUDED, OTHER, OWN, LINKED, REPEATED = (
    "hidden",
    "excluded",
    "other files",
    "own output",
    "linked folders",
    "named again",
)
"""Why something was left out, the keys of `Search.skipped`."""
_DICOM_HEAD = 16384  # bytes in which a DICOM file says who made it; what says so later is refused when it is read
_FORMER_PICTURES = "assets"  # where scans kept their pictures before these were stamped


def describe_skipped(skipped: Counter[str]) -> str | None:
    """Say what was left out and why, in a sentence; None if nothing was."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in skipped.most_common() if number)
    return f"Left out of the search: {reasons}." if reasons else None


class Search(Iterator[Path | InputError]):
    """What a search finds, one after the other.

    Attributes:
        skipped: How many files and folders were left out so far, by reason: `HIDDEN`, `EXCLUDED` by the globs, `OTHER`
            than radiographs, `OWN` output of this program, `LINKED` folders, and inputs that were `REPEATED`.
    """

    def __init__(self, discovery: "Discovery") -> None:
        self.skipped: Counter[str] = Counter()
        self._discovery = discovery
        self._output = None if discovery.output is None else identity(discovery.output)
        self._files: set[Identity] = set()
        self._folders: set[Identity] = set()
        self._found = self._named()

    def __next__(self) -> Path | InputError:
        """Give the next file, or the error of what cannot be searched or answered."""
        return next(self._found)

    @property
    def summary(self) -> str | None:
        """What was left out so far and why, in a sentence; None if nothing was."""
        return describe_skipped(self.skipped)

    def _named(self) -> Iterator[Path | InputError]:
        inputs = self._discovery.distinct
        self.skipped[REPEATED] += len(self._discovery.inputs) - len(inputs)
        files = [path for path in inputs if not path.is_dir()]
        self._files.update(filter(None, map(identity, files)))
        for path in inputs:
            if path.is_dir():
                yield from self._reported(path) if self._discovery.ordered else self.walk(path, below=path)
            elif _is_own(path, _head(path)):
                self.skipped[OWN] += 1
                yield InputError(
                    "a result of cxr-edge", cure="name the radiograph itself", kind="own-output", path=path
                )
            else:
                yield path

    def _reported(self, folder: Path) -> Iterator[Path | InputError]:
        """Search a folder, and make an error of finding nothing."""
        before, found = self.skipped.copy(), False
        for each in self.walk(folder, below=folder):
            found = True
            yield each
        left_out = self.skipped - before
        if not found and not left_out[REPEATED]:
            problem = f"no radiographs in this folder ({left_out.total()} other files and folders in it were left out)"
            yield InputError(problem, cure="name a folder with pictures or DICOM files", kind="no-images", path=folder)

    def walk(self, folder: Path, *, below: Path) -> Iterator[Path | InputError]:
        """Search one folder, with globs relative to the input folder ``below``."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            if (here := identity(current)) in self._folders:
                self.skipped[REPEATED] += 1
                continue
            if here is not None:
                self._folders.add(here)
            folders: list[Path] = []
            try:
                with os.scandir(current) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name) if self._discovery.ordered else listing
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if self._enters(Path(entry.path), below):
                                folders.append(Path(entry.path))
                        elif self._takes(entry, below):
                            yield Path(entry.path)
            except OSError as error:
                problem = f"the folder cannot be read ({error.strerror})"
                yield InputError(problem, cure="check its permissions", kind="unreadable", path=current)
            waiting.extend(reversed(folders))

    def _enters(self, path: Path, below: Path) -> bool:
        if not self._discovery.recursive:
            return False
        reason = self._discovery.closed(path, below)
        if reason is None and self._output is not None and identity(path) == self._output:
            reason = OWN
        if reason is not None:
            self.skipped[reason] += 1
        return reason is None

    def _takes(self, entry: os.DirEntry[str], below: Path) -> bool:
        path = Path(entry.path)
        if entry.is_symlink() and path.is_dir():
            reason: str | None = LINKED
        else:
            reason = self._discovery.unwanted(path, below)
        if reason is None and self._files and identity(path) in self._files:
            reason = REPEATED
        if reason is not None:
            self.skipped[reason] += 1
        return reason is None


@dataclass(frozen=True)
class Discovery:
    """What is to be looked for, and where.

    A file that was named is taken as it is. A folder is searched for radiographs, which are known by their suffix, or
    by their content under any name. Hidden files and folders, and whatever this program wrote, are left out. Links to
    folders are not followed: a loop of them would never end. What was named several times, under whatever name, is
    found once.

    Attributes:
        inputs: Files and folders.
        recursive: Whether sub-folders are searched.
        include: Globs; where any is given a file must match one. A glob with a slash is held against the path below
            the input folder, another against the file's name; upper and lower case are alike.
        exclude: Globs of files and of folders to leave out, matched alike.
        output: A folder that is never searched below an input folder: the scan's own.
        ordered: Whether files come in the order of names, those of a folder before those of its sub-folders, and a
            folder without radiographs is an error. Else nothing is sorted and no folder is listed whole, so that the
            first file of millions is there at once.
    """

    inputs: tuple[Path, ...]
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output: Path | None = None
    ordered: bool = False

    @property
    def distinct(self) -> tuple[Path, ...]:
        """The inputs, each once; where there is nothing under a name, the name counts."""
        first: dict[object, Path] = {}
        for path in self.inputs:
            first.setdefault(identity(path) or path, path)
        return tuple(first.values())

    def find(self) -> Search:
        """Give every file to answer, and an error for every folder that cannot be read."""
        return Search(self)

    def find_in(self, folder: Path, *, below: Path) -> Iterator[Path | InputError]:
        """Search one folder, with globs relative to the input folder ``below``."""
        return Search(replace(self, inputs=())).walk(folder, below=below)

    def wants(self, path: Path, below: Path) -> bool:
        """Say whether a file below an input folder is to be answered."""
        return self.unwanted(path, below) is None

    def unwanted(self, path: Path, below: Path) -> str | None:
        """Say why a file below an input folder is not to be answered; None where it is."""
        if path.name.startswith("."):
            return HIDDEN
        if (self.include and not _matches(path, below, self.include)) or _matches(path, below, self.exclude):
            return EXCLUDED
        head = _head(path)
        if _is_own(path, head):
            return OWN
        return None if path.suffix.lower() in SUFFIXES or holds_radiograph(head) else OTHER

    def reaches(self, path: Path, below: Path) -> bool:
        """Say whether every folder between an input folder and a path is searched."""
        output = self.output and identity(self.output)
        between = [folder for folder in path.parents if folder != below and folder.is_relative_to(below)]
        return not any(
            self.closed(folder, below) or (output is not None and identity(folder) == output) for folder in between
        )

    def closed(self, folder: Path, below: Path) -> str | None:
        """Say why a folder below an input folder is not searched; None where it is."""
        if folder.name.startswith("."):
            return HIDDEN
        if _matches(folder, below, self.exclude):
            return EXCLUDED
        return OWN if _is_own_folder(folder) else None


def identity(path: Path) -> Identity | None:
    """Tell a file or folder from all others, under any of its names; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _matches(path: Path, below: Path, globs: Sequence[str]) -> bool:
    names = (path.relative_to(below).as_posix().lower(), path.name.lower())
    return any(fnmatchcase(names["/" not in glob], glob.lower()) for glob in globs)


def _head(path: Path, length: int = HEAD) -> bytes:
    """Read the first bytes of a regular file; a pipe would block."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb", buffering=0) as file:
            return file.read(length)
    except OSError:
        return b""


def _is_own(path: Path, head: bytes) -> bool:
    """Know a picture of this program by its stamp, and a DICOM result by what its first elements say."""
    found = format_of(head)
    if found is not Format.DICOM:
        return STAMP in head and found in {Format.PNG, Format.JPEG}
    from cxr_edge.reading.data_set import read_data_set
    from cxr_edge.reading.dicom import is_own_result

    longer = _head(path, _DICOM_HEAD)
    try:
        return STAMP in longer and is_own_result(read_data_set(longer))
    except (InputError, struct.error, ValueError):  # damaged: said where it is read
        return False


def _is_own_folder(folder: Path) -> bool:
    """Know a folder of results by its marker; one of former releases by a record in it, or beside its pictures."""
    records = [folder / name for name in FORMER_MARKERS]
    if folder.name == _FORMER_PICTURES:
        records.append(folder.parent / "scan.json")
    return (folder / MARKER).is_file() or any(map(_is_former_record, records))


def _is_former_record(path: Path) -> bool:
    """Know what former releases wrote by the bundle that it names: a user's file may have the same name."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return b'"bundle"' in file.read(65536)
    except OSError:
        return False
