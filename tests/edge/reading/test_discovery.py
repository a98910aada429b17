import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxr_edge.errors import InputError
from cxr_edge.reading.discovery import Discovery


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png", "x/c.dcm", "x/y/d.tiff", ".cache/e.png", "out/f.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "x" / "scan0001").write_bytes(bytes(128) + b"DICM")
    return tmp_path


def names(discovery: Discovery) -> list[str]:
    root = discovery.inputs[0]
    return sorted(str(each.relative_to(root)) for each in discovery.find() if isinstance(each, Path))


def test_images_by_suffix_and_dicom_under_any_name(tree: Path) -> None:
    found = names(Discovery((tree,), output=tree / "out"))
    assert found == ["a.png", "b.JPG", "x/c.dcm", "x/scan0001", "x/y/d.tiff"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"recursive": False}, ["a.png", "b.JPG"]),
        ({"include": ("*.png",)}, ["a.png", "out/f.png"]),
        ({"include": ("x/*",)}, ["x/c.dcm", "x/scan0001", "x/y/d.tiff"]),
        ({"exclude": ("y", "*.JPG", "out")}, ["a.png", "x/c.dcm", "x/scan0001"]),
        ({"exclude": ("x/y/*",)}, ["a.png", "b.JPG", "out/f.png", "x/c.dcm", "x/scan0001"]),
    ],
)
def test_globs(tree: Path, options: dict[str, object], expected: list[str]) -> None:
    assert names(Discovery((tree,), **options)) == expected


def test_a_file_named_outright_is_taken_as_it_is(tree: Path) -> None:
    assert list(Discovery((tree / "notes.txt", tree / "none.png")).find()) == [tree / "notes.txt", tree / "none.png"]


def test_link_loops_pipes_and_strange_names(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe")
    strange = [os.fsdecode(b"\xff\xfe.png"), "two\nlines.png"]
    for name in strange:
        (tmp_path / name).touch()
    found = {each.name for each in Discovery((tmp_path,)).find() if isinstance(each, Path)}
    assert found == {"self.png", *strange}


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    (failure,) = Discovery((tmp_path,)).find()
    assert isinstance(failure, InputError)
    assert failure.kind == "unreadable"


def test_the_first_file_does_not_wait_for_the_second(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    @contextmanager
    def one_entry(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with scandir(folder) as entries:
            (entry,) = [entry for entry in entries if entry.name == "a.png"]

            def listing() -> Iterator[os.DirEntry[str]]:
                yield entry
                raise AssertionError("read on before the first file was asked for")

            yield listing()

    monkeypatch.setattr(os, "scandir", one_entry)
    assert next(Discovery((tree,)).find()) == tree / "a.png"
