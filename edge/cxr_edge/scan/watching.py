"""Files as they arrive in folders."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from watchfiles import Change, watch

from cxr_edge.errors import InputError, UsageError
from cxr_edge.reading.discovery import Discovery

SETTLED_AFTER = 2.0  # seconds without growth before a file counts as whole
_TICK = 0.5  # seconds between two looks at files that may be growing and at folders that may be gone
_LOST = "\N{REPLACEMENT CHARACTER}"  # what the watching library makes of bytes that are no UTF-8


def watch_for(discovery: Discovery, stop: Event, *, poll: float | None) -> Iterator[Path | InputError | None]:
    """Give every file that is there, then every one that comes or changes, once it has stopped growing.

    A folder that vanishes is waited for, and searched again when it is back.

    Args:
        discovery: What to look for.
        stop: Ends it when set.
        poll: Seconds between two looks at everything; None has the operating system tell, which network shares do not.

    Yields:
        Paths and failures, and None at every pause.

    Raises:
        UsageError: The operating system refuses to watch.
    """
    return _Watcher(discovery, stop, poll).run()


class _Watcher:
    def __init__(self, discovery: Discovery, stop: Event, poll: float | None) -> None:
        self._discovery = discovery
        self._stop = stop
        self._poll = poll
        self._files = [path for path in discovery.distinct if path.is_file()]
        self._folders = [path for path in discovery.distinct if path not in self._files]
        self._searched: dict[Path, tuple[int, int]] = {}
        # File → size, time of change, and since when these have been so.
        self._growing: dict[Path, tuple[tuple[int, int], float]] = {}

    def run(self) -> Iterator[Path | InputError | None]:
        yield from self._files
        while not self._stop.is_set():
            there = self._there()
            if there:
                for changes in self._watch(there):
                    # The library watches from its first answer on: what is searched after that cannot be missed.
                    for folder in [each for each in there if self._searched.get(each) != there[each]]:
                        self._searched[folder] = there[folder]
                        yield from self._at_rest(self._discovery.find_in(folder, below=folder))
                    for path in sorted({Path(name) for change, name in changes if change != Change.deleted}):
                        yield from self._at_rest(self._arrived(path))
                    yield from self._settled()
                    yield None
                    if self._there() != there:
                        break
            else:
                self._stop.wait(_TICK)
                yield None
            self._searched = {folder: self._searched[folder] for folder in there if folder in self._searched}

    def _there(self) -> dict[Path, tuple[int, int]]:
        return {folder: identity for folder in self._folders if (identity := _identity(folder))}

    def _watch(self, folders: dict[Path, tuple[int, int]]) -> Iterator[set[tuple[Change, str]]]:
        try:
            yield from watch(
                *folders,
                watch_filter=None,
                debounce=400,
                stop_event=self._stop,
                rust_timeout=int(1000 * _TICK),
                yield_on_timeout=True,
                force_polling=self._poll is not None,
                poll_delay_ms=int(1000 * (self._poll or 1)),
                recursive=self._discovery.recursive,
                ignore_permission_denied=True,
            )
        except FileNotFoundError:  # gone between the look and the watch
            return
        except OSError as error:
            raise UsageError(f"the folders cannot be watched ({error}); take --poll 10 to look instead") from error

    def _arrived(self, reported: Path) -> Iterator[Path | InputError]:
        place = self._place(reported)
        if place is None:  # the journal knows what is found again
            for folder in self._searched:
                yield from self._discovery.find_in(folder, below=folder)
            return
        path, below = place
        if not self._discovery.reaches(path, below):
            return
        if _LOST in path.name:
            path = path.parent
        if path.is_dir() and not path.is_symlink():
            yield from self._discovery.find_in(path, below=below)
        elif self._discovery.wants(path, below):
            yield path

    def _place(self, path: Path) -> tuple[Path, Path] | None:
        """Give a path as it is spelled below the input folder that it lies in, and that folder; None if in none.

        The operating system may spell a folder in another way than the user did: without links and ``..``.
        """
        for folder in sorted(self._searched, key=lambda each: -len(each.parts)):
            if path.is_relative_to(folder):
                return path, folder
        for folder in sorted(self._searched, key=lambda each: -len(each.parts)):
            if path.is_relative_to(folder.resolve()):
                return folder / path.relative_to(folder.resolve()), folder
        return None

    def _at_rest(self, found: Iterator[Path | InputError]) -> Iterator[Path | InputError]:
        """Let pass what has been at rest for long; keep the rest until it is."""
        for each in found:
            facts = None if isinstance(each, InputError) else _facts(each)
            if isinstance(each, InputError) or facts is None or time.time() - facts[1] / 1e9 > 5 * SETTLED_AFTER:
                yield each
            else:
                self._growing.setdefault(each, (facts, time.monotonic()))

    def _settled(self) -> Iterator[Path]:
        for path, (before, since) in list(self._growing.items()):
            facts, now = _facts(path), time.monotonic()
            if facts is None:
                del self._growing[path]
            elif facts != before:
                self._growing[path] = (facts, now)
            elif now - since >= SETTLED_AFTER:
                del self._growing[path]
                yield path


def _facts(path: Path) -> tuple[int, int] | None:
    """Give size and time of change (ns), None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tell a folder from another that takes its name later; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if folder.is_dir() else None
