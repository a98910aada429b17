import errno
import json
import os
from pathlib import Path

import pytest

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.results.index import State
from cxr_edge.results.journal import BAD_LINES, JOURNAL, Journal
from cxr_edge.results.schema import Record, check
from records import answer, failure

SHA = "ab" * 32
FROZEN = Path(__file__).parents[2] / "data" / "journals"


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


BAD = [
    b"nonsense\n",
    b"\0\0\0\n",
    b"\xff\xfe\n",
    b"[]\n",
    b"7\n",
    b"{}\n",
    b"\n",
    json.dumps({**answer("a"), "path": 5}).encode() + b"\n",
    json.dumps({**answer("a"), "path": None}).encode() + b"\n",
    json.dumps({**answer("a"), "sha256": "../.."}).encode() + b"\n",
    json.dumps({**answer("a"), "status": []}).encode() + b"\n",
    json.dumps({**failure("a"), "error": "empty"}).encode() + b"\n",
]


@pytest.mark.parametrize("bad", BAD)
def test_a_line_that_is_no_record_is_named_with_its_fault(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(line("a") + bad + line("b"))
    with pytest.raises(UsageError, match=r"results\.jsonl: line 2 is no record of a scan: .+; take --skip-bad"):
        Journal(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == line("a") + bad + line("b")


def test_bad_lines_are_moved_out_and_kept(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(line("a") + b"".join(BAD) + line("b") + b'{"half')
    journal = Journal(tmp_path, skip_bad=True)
    assert journal.left_out == len(BAD)
    assert journal.index.state("a") == journal.index.state("b") == State(SHA, "ok", "NORMAL")
    assert journal.record_of(SHA) == record("b")
    journal.append(record("c"))
    journal.close()
    assert (tmp_path / JOURNAL).read_bytes() == line("a") + line("b") + line("c")
    assert (tmp_path / BAD_LINES).read_bytes() == b"".join(BAD)
    again = Journal(tmp_path)
    assert again.left_out == 0
    again.close()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"more nonsense\n")
    Journal(tmp_path, skip_bad=True).close()
    assert (tmp_path / BAD_LINES).read_bytes() == b"".join(BAD) + b"more nonsense\n"


def test_a_moved_journal_is_noticed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    journal = Journal(out)
    journal.append(record("a"))
    out.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match="moved away"):
        journal.append(record("b"))
    journal.close()
    assert (tmp_path / "moved" / JOURNAL).read_bytes() == line("a")


def test_records_of_schema_1_and_2_in_one_journal(tmp_path: Path) -> None:
    frozen = (FROZEN / "schema1" / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(frozen)
    journal = Journal(tmp_path)
    journal.append(record("a"))
    known = [json.loads(each) for each in frozen.splitlines()]
    for each in known:
        state = journal.index.state(each["path"])
        assert (state.status, state.label) == (each["status"], each.get("label"))
        if each["status"] != "error":
            assert journal.record_of(each["sha256"]).to_json() == {**each, "schema": 2}
    journal.close()
    assert (tmp_path / JOURNAL).read_bytes() == frozen + line("a")


def test_what_counts_in_a_run_is_told_from_what_was_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(record("a", sha256=None, kind="empty"))
    assert journal.index.count("a", State(None, "error", kind="empty")) is None
    assert journal.index.count("a", State(SHA, "ok", "NORMAL")) == State(None, "error", kind="empty")
    assert journal.index.count("a", State(SHA, "refused")) == State(SHA, "ok", "NORMAL")
    journal.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_journal_is_as_open_as_its_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    before = os.umask(0o077)
    try:
        Journal(tmp_path).close()
    finally:
        os.umask(before)
    assert (tmp_path / JOURNAL).stat().st_mode & 0o777 == 0o660
