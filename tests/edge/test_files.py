import os
from pathlib import Path

import pytest

from cxr_edge.files import read_into_memory, write_atomically


def test_the_whole_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "record.json"
    for content in (b"first", b"second, and longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "shared", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_file_is_read_once_and_whole(tmp_path):
    for size in (0, 1, 4096, 5_000_000):
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        (tmp_path / "file").write_bytes(content)
        data = read_into_memory(tmp_path / "file")
        assert data == content
        assert data.readonly
        (tmp_path / "file").write_bytes(b"changed in place")
        assert data == content


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"ten bytes.")
    real = os.fstat

    class Longer:
        def __init__(self, file):
            self.st_size = real(file).st_size + 5

    monkeypatch.setattr("cxr_edge.files.os.fstat", Longer)
    with pytest.raises(OSError, match="10 of 15 bytes"):
        read_into_memory(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        read_into_memory(tmp_path / "missing")
