"""The one way to write a file: all of it or nothing."""

import os
import threading
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it.

    The bytes go to a temporary file in the same folder, to the disk, and then take the name in one step.

    Args:
        path: Where to; an existing file is replaced.
        data: All of its content.

    Raises:
        OSError: The folder is missing, full or not writable; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
