import errno
import json
import os
from pathlib import Path

import pytest

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.results.journal import JOURNAL, Journal, State
from cxr_edge.results.schema import Record, check
from records import answer, failure

SHA = "ab" * 32


def record(path: str, *, sha256: str | None = SHA, kind: str | None = None) -> Record:
    return check(answer(path, sha256=sha256) if kind is None else failure(path, kind, sha256=sha256))


def line(path: str) -> bytes:
    return json.dumps(record(path).to_json()).encode() + b"\n"


def test_what_was_written_is_known_after_reopening(tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9\n.png")
    journal = Journal(tmp_path)
    journal.append(record(strange))
    journal.append(record("b", sha256=None, kind="unreadable"))
    journal.close()
    journal = Journal(tmp_path)
    assert journal.index.state(strange) == State(SHA, "ok", "NORMAL")
    assert journal.index.state("b") == State(None, "error", kind="unreadable")
    assert journal.index.failed("b")
    assert journal.index.state("c") is None
    assert journal.record_of(SHA) == record(strange)
    assert not journal.index.claim(SHA)
    journal.close()


@pytest.mark.parametrize("torn", [b'{"path"', b"\0" * 4096, b'{"schema": 1}'])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.append(record("a"))
    journal.close()
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + torn)
    journal = Journal(tmp_path)
    journal.append(record("b"))
    journal.close()
    assert (tmp_path / JOURNAL).read_bytes() == whole + line("b")


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(json.dumps(answer("a")) + "\nnonsense\n")
    with pytest.raises(UsageError, match="line 2"):
        Journal(tmp_path)


@pytest.mark.parametrize("failure", ["full", "half"])
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    journal = Journal(tmp_path)
    journal.append(record("a"))
    whole, write = (tmp_path / JOURNAL).read_bytes(), os.write

    def refuse(file: int, data: bytes) -> int:
        if failure == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:20])

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OutputError, match=r"(?i)no space left"):
        journal.append(record("b"))
    assert (tmp_path / JOURNAL).read_bytes() == whole
    monkeypatch.undo()
    journal.append(record("b"))
    assert (tmp_path / JOURNAL).read_bytes() == whole + line("b")
    journal.close()


def test_a_deleted_journal_is_noticed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    (tmp_path / JOURNAL).unlink()
    with pytest.raises(OutputError, match="deleted"):
        journal.append(record("a"))
    journal.close()


def test_a_content_is_claimed_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.index.claim(SHA)
    assert not journal.index.claim(SHA)
    journal.append(record("a"))
    assert not journal.index.claim(SHA)
    journal.close()
