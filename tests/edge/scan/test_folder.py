import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.results.index import DESCRIPTION, Parameters, read_description
from cxr_edge.results.journal import JOURNAL
from cxr_edge.results.schema import BundleRecord
from cxr_edge.scan.folder import LOCK, Lock, locked_folder

FROZEN = Path(__file__).parents[2] / "data" / "journals"
PARAMETERS = Parameters(
    engine="local",
    bundle=BundleRecord(name="tiny", version="1.0", sha256="ab" * 32),
    provider="cpu",
    precision="fp32",
    operating_point="balanced",
    gate=False,
    batch_size=1,
    explain="none",
    explain_if="positive",
)


def take(path: Path, *, pictures: bool = False, parameters: Parameters = PARAMETERS) -> str | None:
    with locked_folder(path, parameters, mode=0o700, pictures=pictures) as stale:
        return stale


def test_a_second_holder_is_refused_until_release(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(UsageError, match=f"another scan is writing here .process {os.getpid()} on "):
        Lock(tmp_path)
    lock.release()
    second = Lock(tmp_path)
    assert second.stale is None
    second.release()
    assert (tmp_path / LOCK).read_bytes() == b""


def test_a_lock_left_by_the_dead_is_taken_over_whatever_machine_it_names(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": "a-container-that-is-gone", "since": "2020-01-01"}))
    lock = Lock(tmp_path)
    assert lock.stale == "process 7 on a-container-that-is-gone since 2020-01-01"
    lock.release()


def test_a_killed_scan_in_another_container_goes_on(tmp_path: Path) -> None:
    program = (
        "import os, socket, sys; from pathlib import Path; from cxr_edge.scan import folder;"
        "socket.gethostname = lambda: 'container-1'; lock = folder.Lock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == -9
    lock = Lock(tmp_path)
    assert "on container-1 since" in str(lock.stale)
    lock.release()


@pytest.mark.parametrize(
    "left",
    [
        b'{"pid": 12',
        b"\xff\xfe\x00odd",
        b"\0" * 9000,
        b"[1, 2]",
        b"7",
        b'{"pid": {}, "host": [3], "since": null}',
        b"[" * 4096,
        b'{"pid": NaN, "host": "\\ud800", "since": 1}',
    ],
)
def test_whatever_a_lock_file_says_it_is_taken_over(tmp_path: Path, left: bytes) -> None:
    (tmp_path / LOCK).write_bytes(left)
    lock = Lock(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "pipe"])
def test_what_was_put_in_the_place_of_the_lock_is_not_touched(tmp_path: Path, kind: str) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("precious")
    path = out / LOCK
    if kind == "hard":
        path.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(victim if kind == "symbolic" else tmp_path / "new")
    with pytest.raises(UsageError, match=r"\.lock: a link or no regular file.*delete it"):
        Lock(out)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has another call")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_share_without_locks_is_named_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UsageError, match=r"has no locks .*take --out on a disk of this machine, or mount") as caught:
        take(tmp_path / "out")
    assert os.strerror(code) in str(caught.value)


def test_a_new_folder_says_what_was_asked(tmp_path: Path) -> None:
    take(tmp_path / "out")
    said = json.loads((tmp_path / "out" / DESCRIPTION).read_text())
    assert said["schema"] == 2
    assert said["bundle"] == {"name": "tiny", "version": "1.0", "sha256": "ab" * 32}
    assert said["parameters"] == PARAMETERS.digest
    released = json.loads((FROZEN / "schema1" / DESCRIPTION).read_text())
    assert set(released) <= set(said)
    assert read_description(tmp_path / "out").asked == PARAMETERS


def test_what_is_reported_is_no_part_of_what_was_computed(tmp_path: Path) -> None:
    take(tmp_path / "out")
    take(tmp_path / "out", pictures=True)
    take(tmp_path / "out")
    assert read_description(tmp_path / "out").pictures


def test_a_scan_of_the_first_release_goes_on(tmp_path: Path) -> None:
    shutil.copytree(FROZEN / "schema1", tmp_path / "out")
    before = read_description(tmp_path / "out")
    assert (before.asked.explain, before.asked.batch_size, before.pictures) == ("both", 1, True)
    take(tmp_path / "out", parameters=before.asked)
    assert read_description(tmp_path / "out").started == before.started


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b"[" * 100_000,
        {"bundle": "tiny"},
        {"bundle": {"name": 1, "version": "1", "sha256": "ab"}},
        {"gate": "yes"},
        {"batch_size": -1},
        {"batch_size": "1"},
        {"explain": "everything"},
        {"seconds": "long"},
        {"seconds": None},
        {"started": 5},
        {"engine": ["local"]},
        {"schema": 99},
    ],
)
def test_a_damaged_description_is_one_line(tmp_path: Path, content: bytes | dict[str, Any]) -> None:
    take(tmp_path / "out")
    path = tmp_path / "out" / DESCRIPTION
    whole = json.loads(path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else json.dumps({**whole, **content}).encode())
    left = path.read_bytes()
    with pytest.raises(UsageError, match=r"scan\.json: no description of a scan") as caught:
        take(tmp_path / "out")
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == left


def test_a_journal_without_a_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).touch()
    with pytest.raises(UsageError, match=r"has a results\.jsonl but no scan\.json"):
        take(tmp_path)


def test_a_folder_that_vanishes_meanwhile_is_an_error_of_the_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(OutputError, match="cannot be written"),
        locked_folder(out, PARAMETERS, mode=0o700, pictures=False),
    ):
        out.rename(tmp_path / "moved")
    assert not out.exists()
