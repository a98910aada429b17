import os
from pathlib import Path

import pytest

from cxr_edge.errors import InputError, OutputError, UsageError
from cxr_edge.files import MARKER
from cxr_edge.results.output import (
    make_folder_below,
    make_output_folder,
    output_name,
    output_place,
    parse_mode,
)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("person724_virus_1343.jpeg", "person724_virus_1343"),
        ("scan.DCM", "scan"),
        ("1.2.840.113619.2.55", "1.2.840.113619.2.55"),
        ("1.2.840.113619.2.56", "1.2.840.113619.2.56"),
        ("1.2.840.dcm", "1.2.840"),
        ("...jpeg", "radiograph"),
        ("..", "radiograph"),
        (".jpeg", "radiograph"),
        (".hidden.png", "hidden"),
        ("a\\..\\b.png", "a_.._b"),
        ("two\nlines.png", "two_lines"),
        ("c:d.png", "c_d"),
        (os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe9")),
        ("x" * 250 + ".jpeg", "x" * 150),
        ("Ü" * 120 + ".jpeg", "Ü" * 75),
    ],
)
def test_names_lose_known_suffixes_only_and_cannot_escape(name: str, expected: str, tmp_path: Path) -> None:
    assert output_name(Path(name)) == expected
    place = output_place(tmp_path, Path("/somewhere") / name)
    assert place.parent == tmp_path
    assert place.is_dir()


def test_one_input_has_one_place_and_no_two_share_it(tmp_path: Path) -> None:
    inputs = [tmp_path / folder / name for folder in "ab" for name in ("x.jpeg", "x.png", "X.png")]
    for path in inputs:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    out = tmp_path / "out"
    places = {path: output_place(out, path) for path in inputs}
    assert places[inputs[0]] == out / "x"
    assert len({os.fspath(place).casefold() for place in places.values()}) >= len(inputs) - 1
    assert len(set(places.values())) == len(inputs)
    for path in reversed(inputs):  # alone, in another order, spelled in another way
        assert output_place(out, path) == places[path]
        assert output_place(out, path.parent / ".." / path.parent.name / path.name) == places[path]


def test_a_place_stays_even_if_a_nearer_one_becomes_free(tmp_path: Path) -> None:
    first, second = output_place(tmp_path, Path("/a/x.png")), output_place(tmp_path, Path("/b/x.png"))
    (first / MARKER).unlink()
    first.rmdir()
    assert output_place(tmp_path, Path("/b/x.png")) == second


def test_what_the_first_release_wrote_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "explanation.json").write_text('{"path": "/a/x.png"}')
    assert output_place(tmp_path, Path("/a/x.png")) == tmp_path / "x"
    assert output_place(tmp_path, Path("/b/x.png")) != tmp_path / "x"


@pytest.mark.parametrize("content", ["", "3", "[]", '{"path": 3}', '{"path": ["/a/x.png"]}', "\x00"])
def test_a_users_own_folder_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "explanation.json").write_text(content)
    place = output_place(tmp_path, Path("/a/x.png"))
    assert place.name.startswith("x-")
    (place / MARKER).write_text("0" * 32)
    with pytest.raises(InputError, match="holds something else") as caught:
        output_place(tmp_path, Path("/a/x.png"))
    assert (caught.value.kind, caught.value.path) == ("exists", Path("/a/x.png"))


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "x").symlink_to(elsewhere, target_is_directory=True)
    assert output_place(out, Path("/a/x.png")).name.startswith("x-")
    (out / "assets").symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(OSError, match="a link"):
        make_folder_below(out, "assets/ab/abcd")
    assert list(elsewhere.iterdir()) == []


def test_folders_are_their_owners_alone_unless_said_otherwise(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        make_output_folder(tmp_path / "deep" / "out")
        make_output_folder(tmp_path / "shared", 0o770)
        below = make_folder_below(tmp_path / "shared", "assets/ab")
    finally:
        os.umask(before)
    assert [permissions(tmp_path / name) for name in ("deep", "deep/out")] == [0o700, 0o700]
    assert permissions(tmp_path / "deep" / "out" / MARKER) == 0o600
    assert [permissions(each) for each in (tmp_path / "shared", below.parent, below)] == [0o770] * 3
    assert permissions(tmp_path / "shared" / MARKER) == 0o660


def test_only_what_this_program_made_or_found_empty_is_marked(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "notes.txt").touch()
    (tmp_path / "empty").mkdir(mode=0o755)
    for name in ("mine", "empty", "new/deeper"):
        make_output_folder(tmp_path / name)
    make_folder_below(tmp_path / "mine", "assets/ab")
    marked = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(MARKER)}
    assert marked == {"empty", "new/deeper", "mine/assets"}
    assert permissions(tmp_path / "mine") == 0o755


@pytest.mark.parametrize(("text", "mode"), [("700", 0o700), ("0750", 0o750), ("2770", 0o2770)])
def test_modes(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "7", "600", "rwx", "0o700", "-700", "99999", "77777"])
def test_modes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="octal"):
        parse_mode(text)


def test_what_cannot_be_made_is_an_error_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        output_place(tmp_path / "out", Path("/a/x.png"))
