import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.errors import InputError
from cxr_edge.files import FORMER_MARKERS, MARKER, STAMP
from cxr_edge.reading.discovery import EXCLUDED, HIDDEN, LINKED, OTHER, OWN, REPEATED, Discovery
from cxr_edge.reading.picture import SUFFIXES

PIXELS = np.add.outer(np.arange(40) * 2, np.arange(60) * 3).astype(np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, PIXELS)[1].tobytes()


def stamped(suffix: str) -> bytes:
    """A picture as this program draws it."""
    data = encoded(suffix)
    if suffix == ".png":
        text = b"tEXtSoftware\0" + STAMP
        return data[:33] + struct.pack(">I", len(text) - 4) + text + bytes(4) + data[33:]
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(STAMP) + 2) + STAMP + data[2:]


def write(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png", "x/c.dcm", "x/y/d.tiff", ".cache/e.png", "out/f.png"):
        write(tmp_path / name)
    write(tmp_path / "x" / "scan0001", bytes(128) + b"DICM")
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
        ({"include": ("*.PNG",)}, ["a.png", "out/f.png"]),
        ({"include": ("*.jpg",)}, ["b.JPG"]),
        ({"include": ("X/*",)}, ["x/c.dcm", "x/scan0001", "x/y/d.tiff"]),
        ({"include": ("x/*",)}, ["x/c.dcm", "x/scan0001", "x/y/d.tiff"]),
        ({"exclude": ("y", "*.JPG", "out")}, ["a.png", "x/c.dcm", "x/scan0001"]),
        ({"exclude": ("Y", "*.jpg", "OUT")}, ["a.png", "x/c.dcm", "x/scan0001"]),
        ({"exclude": ("x/y/*",)}, ["a.png", "b.JPG", "out/f.png", "x/c.dcm", "x/scan0001"]),
    ],
)
def test_globs_whatever_the_case(tree: Path, options: dict[str, object], expected: list[str]) -> None:
    assert names(Discovery((tree,), **options)) == expected


def test_a_file_named_outright_is_taken_as_it_is(tree: Path) -> None:
    assert list(Discovery((tree / "notes.txt", tree / "none.png")).find()) == [tree / "notes.txt", tree / "none.png"]


def test_files_as_named_and_folders_in_order_when_asked(tmp_path: Path, radiographs: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "sub/c.tif", "notes.txt", ".hidden.png", ".trash/d.png", "z.bmp", "x.5"):
        write(tmp_path / name)
    shutil.copy(radiographs / "nih_dx_chest.dcm", tmp_path / "1.2.840.5")
    os.mkfifo(tmp_path / "pipe")
    named = tmp_path / "notes.txt"
    search = Discovery((named, tmp_path, named), ordered=True).find()
    found = [path.relative_to(tmp_path).as_posix() for path in search if isinstance(path, Path)]
    assert found == ["notes.txt", "1.2.840.5", "a.jpeg", "b.PNG", "z.bmp", "sub/c.tif"]


def test_radiographs_are_found_by_their_content_under_any_name(tmp_path: Path, radiographs: Path) -> None:
    dicom = (radiographs / "nih_dx_chest.dcm").read_bytes()
    contents = {
        "IM000001": dicom,
        "without_preamble": dicom[132:],
        "jpeg": encoded(".jpg"),
        "scan.001": encoded(".png"),
        "page": encoded(".tiff"),
        "bitmap": encoded(".bmp"),
        "a.jfif": encoded(".jpg"),
        "b.JPE": encoded(".jpg"),
    }
    others = {"BMI.csv": b"BMI,label\n" * 30, "letter.pdf": b"%PDF-1.7" + bytes(300), "empty": b"", "a.gif": b"GIF89a"}
    for name, data in (contents | others).items():
        write(tmp_path / name, data)
    os.mkfifo(tmp_path / "pipe")
    search = Discovery((tmp_path,)).find()
    assert {each.name for each in search if isinstance(each, Path)} == set(contents)
    assert search.skipped[OTHER] == len(others) + 1


def test_what_was_left_out_is_counted_by_reason(tree: Path) -> None:
    (tree / "loop").symlink_to(tree, target_is_directory=True)
    write(tree / "drawn.png", stamped(".png"))
    search = Discovery((tree, tree / "a.png"), exclude=("*.tiff",), output=tree / "out").find()
    assert len(list(search)) == 4
    assert search.skipped == {HIDDEN: 2, EXCLUDED: 1, OTHER: 1, OWN: 2, LINKED: 1, REPEATED: 1}


def test_a_folder_without_images_is_a_failure_when_ordered(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"x")
    (failure,) = Discovery((tmp_path,), ordered=True).find()
    assert isinstance(failure, InputError)
    assert (failure.path, failure.kind) == (tmp_path, "no-images")
    assert "1 other files" in failure.problem
    assert list(Discovery((tmp_path,)).find()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_folder_that_cannot_be_read_is_a_failure_and_the_rest_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    image, failure = Discovery((tmp_path,), ordered=True).find()
    assert image == tmp_path / "a.png"
    assert isinstance(failure, InputError)
    assert (failure.path, failure.kind) == (closed, "unreadable")


def test_link_loops_pipes_and_strange_names(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    strange = [os.fsdecode(b"\xff\xfe.png"), "two\nlines.png"]
    for name in strange:
        (tmp_path / name).touch()
    found = {each.name for each in Discovery((tmp_path,)).find() if isinstance(each, Path)}
    assert found == {"self.png", "pipe.png", *strange}


def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("again", ["same", "link", "dots", "inner", "file", "linked file"])
def test_what_is_named_several_times_is_found_once(tmp_path: Path, again: str, ordered: bool) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "sub/b.png"):
        write(folder / name)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    (tmp_path / "other.png").symlink_to(folder / "a.png")
    other = {
        "same": folder,
        "link": tmp_path / "link",
        "dots": folder / "sub" / "..",
        "inner": folder / "sub",
        "file": folder / "a.png",
        "linked file": tmp_path / "other.png",
    }[again]
    for inputs in ((folder, other), (other, folder)):
        found = [each for each in Discovery(inputs, ordered=ordered).find() if isinstance(each, Path)]
        assert {each.resolve() for each in found} == {folder / "a.png", folder / "sub" / "b.png"}
        assert len(found) == 2


@pytest.mark.parametrize("spelling", ["plain", "link to the inputs", "link to the output", "dots"])
def test_the_output_folder_is_known_under_any_name(tmp_path: Path, spelling: str) -> None:
    folder, output = tmp_path / "in", tmp_path / "in" / "out"
    write(folder / "a.png")
    write(output / "thumbnail.png", encoded(".png"))
    (tmp_path / "inputs").symlink_to(folder, target_is_directory=True)
    (tmp_path / "results").symlink_to(output, target_is_directory=True)
    named, out = {
        "plain": (folder, output),
        "link to the inputs": (tmp_path / "inputs", output),
        "link to the output": (folder, tmp_path / "results"),
        "dots": (folder, tmp_path / "in" / ".." / "in" / "out"),
    }[spelling]
    discovery = Discovery((named,), output=out)
    assert [each.name for each in discovery.find() if isinstance(each, Path)] == ["a.png"]
    assert not discovery.reaches(named / "out" / "thumbnail.png", named)


@pytest.mark.parametrize("marker", [MARKER, *FORMER_MARKERS])
def test_folders_that_this_program_wrote_are_never_entered(tmp_path: Path, marker: str) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "earlier" / marker, b'{"bundle": {"name": "x"}}')
    write(tmp_path / "earlier" / "assets" / "picture.jpg", encoded(".jpg"))
    write(tmp_path / "theirs" / "scan.json", b'{"kVp": 60}')
    write(tmp_path / "theirs" / "b.png")
    discovery = Discovery((tmp_path,))
    search = discovery.find()
    assert sorted(each.name for each in search if isinstance(each, Path)) == ["a.png", "b.png"]
    assert search.skipped[OWN] == 1
    assert not discovery.reaches(tmp_path / "earlier" / "assets" / "picture.jpg", tmp_path)


@pytest.mark.parametrize("marker", [MARKER, "scan.json"])
def test_a_folder_that_is_input_and_output_is_searched_without_what_was_written(tmp_path: Path, marker: str) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / marker, b'{"bundle": {"name": "x"}}')
    write(tmp_path / "figure.png", stamped(".png"))
    write(tmp_path / "figure.jpg", stamped(".jpg"))
    assets = tmp_path / "assets"
    write(assets / "thumbnail.jpg", stamped(".jpg") if marker == MARKER else encoded(".jpg"))
    search = Discovery((tmp_path,), output=tmp_path, ordered=True).find()
    assert [each.name for each in search if isinstance(each, Path)] == ["a.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_this_program_drew_is_no_radiograph(tmp_path: Path, suffix: str) -> None:
    drawn = write(tmp_path / f"figure{suffix}", stamped(suffix))
    (tmp_path / f"link{suffix}").symlink_to(drawn)
    (failure,) = Discovery((drawn,)).find()
    assert isinstance(failure, InputError)
    assert (failure.kind, failure.path) == ("own-output", drawn)
    search = Discovery((tmp_path,)).find()
    assert list(search) == []
    assert search.skipped[OWN] == 2


def test_every_suffix_is_that_of_a_format_that_is_read(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write(tmp_path / f"a{suffix.upper()}")
    assert len(list(Discovery((tmp_path,)).find())) == len(SUFFIXES)
