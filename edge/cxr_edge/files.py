"""The one way to write a file, all of it or nothing; and what tells this program's own files from a user's.

It lies below all rooms, because bundles, caches and results are written alike, and because reading must know what never
to take for an input.
"""

import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

MARKER = ".cxr-edge"
"""A file in every folder that this program writes results into. A folder with it is never searched for inputs."""
FORMER_MARKERS = ("scan.json", "explanation.json")
"""What such folders hold that were written before there was a marker."""
STAMP = b"cxr-edge"
"""Stands in every picture that this program draws: in PNG as the text of ``Software``, in JPEG as a comment."""


SERIES_DESCRIPTION = "cxr-edge: research use only"
"""Of every DICOM object that this program makes; `STAMP` is the manufacturer in it."""


@contextmanager
def open_atomically(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing so that a reader, or a crash, never meets half of it.

    The bytes go to a temporary file in the same folder, to the disk, and take the name in one step when the block ends
    without an exception.

    Args:
        path: Where to; an existing file is replaced, and so is a link, not what it points to.
        mode: Permissions of the file; None leaves them to the umask.

    Raises:
        OSError: The folder is missing, full or not writable; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    temporary.unlink(missing_ok=True)  # a link of this name would be written through
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                temporary.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a whole file as `open_atomically` does.

    Args:
        path: Where to; an existing file is replaced.
        data: All of its content.
        mode: Permissions of the file; None leaves them to the umask.

    Raises:
        OSError: The folder is missing, full or not writable; nothing is left behind.
    """
    with open_atomically(path, mode=mode) as file:
        file.write(data)


def read_into_memory(path: Path) -> memoryview:
    """Read a whole file once, into memory of this process alone.

    The memory begins at a page. Large pages are asked for: to fill small ones takes longer than to copy the bytes.

    Args:
        path: The file.

    Returns:
        Its bytes, for reading. Nothing that happens to the file later changes them.

    Raises:
        OSError: It cannot be read, or not all of it.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return memoryview(b"")
        if hasattr(mmap, "MAP_PRIVATE"):
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            memory = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
        view, done = memoryview(memory), 0
        while done < size and (more := file.readinto(view[done:])):
            done += more
    if done < size:
        raise OSError(f"{path}: {done} of {size} bytes could be read")
    return view.toreadonly()
