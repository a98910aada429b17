"""Output folders: never half written, never replaced unasked, never something that is no bundle."""

import pytest

from cxr_edge.errors import UsageError
from cxr_export.folders import check_replaceable, replacing


def _bundle(folder):
    folder.mkdir()
    (folder / "manifest.json").write_text("old")
    return folder


def test_a_filled_folder_takes_the_place_of_the_old_one(tmp_path):
    out = _bundle(tmp_path / "out")
    with replacing(out) as folder:
        (folder / "manifest.json").write_text("new")
        assert (out / "manifest.json").read_text() == "old"
    assert (out / "manifest.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path):
    out = _bundle(tmp_path / "out")
    with pytest.raises(FileNotFoundError), replacing(out) as folder:
        (folder / "gone").read_text()
    assert (out / "manifest.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parents_are_made_and_a_path_through_a_file_is_refused(tmp_path):
    with replacing(tmp_path / "a" / "b") as folder:
        (folder / "x").touch()
    assert (tmp_path / "a" / "b" / "x").exists()
    with pytest.raises(UsageError, match="cannot be written"), replacing(tmp_path / "a" / "b" / "x" / "c"):
        pass


def test_an_existing_bundle_needs_force(tmp_path):
    out = _bundle(tmp_path / "out")
    with pytest.raises(UsageError, match="--force"):
        check_replaceable(out, force=False)
    check_replaceable(out, force=True)
    check_replaceable(tmp_path / "new", force=False)


def test_what_is_no_bundle_is_not_replaced_even_with_force(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpeg").touch()
    with pytest.raises(UsageError, match="is no bundle"):
        check_replaceable(tmp_path / "photos", force=True)
    with pytest.raises(UsageError, match="is no bundle"):
        check_replaceable(tmp_path / "photos" / "cat.jpeg", force=True)
