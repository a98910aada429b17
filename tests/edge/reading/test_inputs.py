import os
import shutil

import pytest

from cxr_edge.errors import InputError
from cxr_edge.reading.inputs import find_images


def test_files_as_named_and_folders_in_order(tmp_path, radiographs):
    for name in (
        "b.PNG",
        "a.jpeg",
        "sub/c.tif",
        "notes.txt",
        ".hidden.png",
        ".trash/d.png",
        "z.bmp",
        "1.2.840.5",
        "x.5",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    shutil.copy(radiographs / "nih_dx_chest.dcm", tmp_path / "1.2.840.5")
    os.mkfifo(tmp_path / "pipe")
    named = tmp_path / "notes.txt"
    found = [path.relative_to(tmp_path) for path in find_images([named, tmp_path, named])]
    names = ["notes.txt", "1.2.840.5", "a.jpeg", "b.PNG", "z.bmp", "sub/c.tif", "notes.txt"]
    assert [path.as_posix() for path in found] == names


def test_a_folder_without_images_is_a_failure(tmp_path):
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (failure,) = find_images([tmp_path])
    assert isinstance(failure, InputError)
    assert (failure.path, failure.kind) == (tmp_path, "no-images")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_folder_that_cannot_be_read_is_a_failure_and_the_rest_is_found(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    image, failure = find_images([tmp_path])
    assert image == tmp_path / "a.png"
    assert isinstance(failure, InputError)
    assert (failure.path, failure.kind) == (closed, "unreadable")


def test_links_to_folders_are_not_followed(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [path.name for path in find_images([tmp_path])] == ["a.png"]
