"""Files that come and grow, folders that go and come back; with the operating system's events and by polling."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_edge.cli import app
from cxr_edge.errors import UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.scan import watching


class Seen:
    """What a watcher in a thread of its own has given, with the time."""

    def __init__(self, folder: Path, poll: float | None) -> None:
        self.stop = threading.Event()
        self.files: list[tuple[str, float]] = []
        self.pauses = 0
        self._thread = threading.Thread(target=self._run, args=(folder, poll))
        self._thread.start()

    def _run(self, folder: Path, poll: float | None) -> None:
        for found in watching.watch_for(Discovery((folder,)), self.stop, poll=poll):
            if found is None:
                self.pauses += 1
            else:
                self.files.append((found.name, time.monotonic()))

    def wait_for(self, *names: str) -> None:
        until = time.monotonic() + 30
        while {name for name, _ in self.files} != set(names):  # polling may name one twice, which the journal knows
            assert time.monotonic() < until, f"{self.files} instead of {names}"
            time.sleep(0.02)

    def started(self) -> None:
        while not self.pauses:
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(params=[None, 0.2], ids=["events", "polling"])
def seen(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    monkeypatch.setattr(watching, "SETTLED_AFTER", 0.6)
    monkeypatch.setattr(watching, "_TICK", 0.1)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "before.png").touch()
    seen = Seen(folder, request.param)
    seen.started()
    yield seen
    seen.end()


def test_files_that_arrive(seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub" / "deeper").mkdir(parents=True)
    (folder / "sub" / "deeper" / "new.png").write_bytes(b"1")
    (folder / "notes.txt").touch()
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "moved.png").touch()
    moved.rename(folder / "moved")
    seen.wait_for("before.png", "new.png", "moved.png")


def test_a_growing_file_is_waited_for(seen: Seen, tmp_path: Path) -> None:
    with (tmp_path / "in" / "slow.png").open("wb") as file:
        for _ in range(10):
            file.write(b"more")
            file.flush()
            time.sleep(0.2)
        finished = time.monotonic()
    seen.wait_for("before.png", "slow.png")
    assert dict(seen.files)["slow.png"] > finished


def test_a_folder_that_vanishes_and_comes_back(seen: Seen, tmp_path: Path) -> None:
    seen.wait_for("before.png")
    shutil.rmtree(tmp_path / "in")
    pauses = seen.pauses
    while seen.pauses < pauses + 10:
        time.sleep(0.02)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "back.png").touch()
    seen.wait_for("before.png", "back.png")
    (tmp_path / "in" / "later.png").touch()
    seen.wait_for("before.png", "back.png", "later.png")


def test_without_watchfiles_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = CliRunner().invoke(app, ["scan", str(tmp_path), "--out", str(tmp_path / "out"), "--watch"])
    assert isinstance(result.exception, UsageError)
    assert "cxr-edge[watch]" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_the_system_spells_in_another_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, link = tmp_path / "in", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder, target_is_directory=True)
    stop = threading.Event()

    def changes(*_: object, **__: object) -> Iterator[set[tuple[watching.Change, str]]]:
        yield set()
        for name in ("a.png", "b.png"):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
        yield {(watching.Change.added, str(folder / "a.png"))}  # as macOS does: without the link
        yield {(watching.Change.added, "/somewhere/else/entirely/b.png")}
        stop.set()

    monkeypatch.setattr(watching, "watch", changes)
    found = [path for path in watching.watch_for(Discovery((link,)), stop, poll=None) if path is not None]
    assert found[0] == link / "a.png"
    assert set(found) == {link / "a.png", link / "b.png"}
