"""The engine of one machine, in this process: what one strange file does, what pictures need, what memory allows."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cxr_edge.api import Model, load
from cxr_edge.errors import InputError, OutputError, UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.index import Parameters
from cxr_edge.results.schema import BundleRecord
from cxr_edge.runtime import machine
from cxr_edge.scan import folder as folders
from cxr_edge.scan import local, pipeline

COUNT = 6
STRANGE = "3.png"


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Model:
    return load(tiny_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(5)
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (250, 200 + number), np.uint8))
    return folder


def scan(model: Model, folder: Path, out: Path, *, batch_size: int = 1, explain: Any = "none", **options: Any) -> Any:
    parameters = Parameters(
        engine="local",
        bundle=BundleRecord(**model.bundle.to_json()),
        provider="cpu",
        precision="fp32",
        operating_point="balanced",
        gate=False,
        batch_size=batch_size,
        explain=explain,
        explain_if="all",
    )
    return local.scan_locally(model, Discovery((folder,), output=out), parameters, out=out, **{"workers": 2, **options})


def records(out: Path) -> dict[str, dict[str, Any]]:
    """The last record of every file."""
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {Path(line["path"]).name: {**line, "time": None} for line in lines}


def is_strange(radiograph: Any) -> bool:
    return radiograph.pixels.shape[1] == 203  # the width of `STRANGE`


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("stage", ["read", "decode", "answer", "explain", "draw"])
def test_one_strange_file_ends_nothing_and_is_tried_again(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, batch_size: int
) -> None:
    class Strange(Exception):  # noqa: N818  # no error of ours
        """Its text names a patient."""

    def refuse(wrapped: Any, strange: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if strange(*arguments):
                raise Strange("JANE DOE")
            return wrapped(*arguments, **options)

        return call

    options = {"batch_size": batch_size, "explain": "gradcam", "pictures": True}
    scan(model, folder, tmp_path / "calm", **options)
    with monkeypatch.context() as patched:
        if stage == "read":
            patched.setattr(pipeline, "read_content", refuse(pipeline.read_content, lambda path: path.name == STRANGE))
        elif stage == "decode":
            patched.setattr(pipeline, "decode", refuse(pipeline.decode, lambda _, path=None: path.name == STRANGE))
        elif stage == "answer":
            strange = refuse(model.predict_batch, lambda radiographs: any(map(is_strange, radiographs)))
            patched.setattr(model, "predict_batch", strange)
        elif stage == "explain":
            strange = refuse(model.explainer.explain, lambda answer: is_strange(answer.radiograph))
            patched.setattr(model.explainer, "explain", strange)
        else:
            patched.setattr(folders, "layers", refuse(folders.layers, lambda each: is_strange(each.answer.radiograph)))
        for _ in range(2):
            tally, stopped = scan(model, folder, tmp_path / "out", **options)
            assert (tally.total, tally.errors, stopped) == (COUNT, {"internal": 1}, False)
    found, calm = records(tmp_path / "out"), records(tmp_path / "calm")
    error = found.pop(STRANGE)["error"]
    assert error == {
        "kind": "internal",
        "message": f"{folder / STRANGE}: failed inside (Strange); please report this",
        "problem": "failed inside (Strange)",
        "cure": "please report this",
    }
    assert found == {name: record for name, record in calm.items() if name != STRANGE}
    tally, _ = scan(model, folder, tmp_path / "out", **options)
    assert (tally.errors, tally.labels.total(), tally.known) == ({}, COUNT, COUNT - 1)
    assert records(tmp_path / "out") == calm


def test_an_answer_that_is_an_error_is_one_of_its_file(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = model.predict_batch

    def refuse(radiographs: Any) -> Any:
        error = InputError("no finite number", kind="not-finite", cure="look at it")
        return tuple(
            error if is_strange(each) else one for each, one in zip(radiographs, answer(radiographs), strict=True)
        )

    monkeypatch.setattr(model, "predict_batch", refuse)
    tally, _ = scan(model, folder, tmp_path, batch_size=4)
    assert (tally.total, tally.errors) == (COUNT, {"not-finite": 1})
    assert records(tmp_path)[STRANGE]["error"]["cure"] == "look at it"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 16, 64])
def test_a_run_is_never_much_larger_than_what_there_is_to_compute(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    sizes: list[int] = []
    answer = model.predict_batch

    def counted(radiographs: Any) -> Any:
        sizes.append(len(radiographs))
        return answer(radiographs)

    monkeypatch.setattr(model, "predict_batch", counted)
    scan(model, folder / "0.png", tmp_path / "one", batch_size=batch_size)
    scan(model, folder, tmp_path / "all", batch_size=batch_size)
    assert len(set(sizes)) == 1
    assert sizes[0] <= min(batch_size, 4)
    one, many = records(tmp_path / "one")["0.png"], records(tmp_path / "all")["0.png"]
    assert one == many  # to the last bit


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 10_000_000}, r"a batch of 10000000 radiographs; expected 1 to \d+, which half"),
        ({"workers": 100_000}, r"100000 workers; expected 1 to \d+: this process may use \d+ cores"),
    ],
)
def test_more_than_the_machine_can_do_is_refused_with_the_number(
    model: Model, folder: Path, tmp_path: Path, options: dict[str, int], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        scan(model, folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_bounds_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: 64)
    monkeypatch.setattr(machine, "usable_memory", lambda: 2**30)
    local.check_load(8, 6)
    with pytest.raises(UsageError, match="expected 1 to 6,"):
        local.check_load(8, 7)
    with pytest.raises(UsageError, match="expected 1 to 256: this process may use 64 cores"):
        local.check_load(257, 1)
    monkeypatch.setattr(machine, "usable_memory", lambda: None)
    local.check_load(256, 256)


def test_opencv_has_its_threads_again(model: Model, folder: Path, tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        scan(model, folder, tmp_path)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("explain", ["none", "gradcam"])
def test_pictures_can_be_asked_for_later_without_answering_again(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, explain: str
) -> None:
    scan(model, folder, tmp_path / "at once", explain=explain, pictures=True)
    scan(model, folder, tmp_path / "later", explain=explain)
    assert not (tmp_path / "later" / "assets").exists()
    before = (tmp_path / "later" / "results.jsonl").read_bytes()
    monkeypatch.setattr(model, "predict_batch", None)
    tally, _ = scan(model, folder, tmp_path / "later", explain=explain, pictures=True)
    assert (tally.known, tally.recorded) == (COUNT, 0)
    assert (tmp_path / "later" / "results.jsonl").read_bytes() == before

    def drawn(out: Path) -> dict[str, bytes]:
        found = [each for each in (out / "assets").rglob("*.*") if each.suffix in {".jpg", ".png"}]
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}

    assert drawn(tmp_path / "later") == drawn(tmp_path / "at once")
    assert len(drawn(tmp_path / "later")) == COUNT * (1 if explain == "none" else 4)


def test_a_link_in_the_place_of_pictures_is_not_followed(model: Model, folder: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "assets").symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(OutputError, match=r"pictures cannot be written \(a link"):
        scan(model, folder, out, pictures=True)
    assert list(elsewhere.iterdir()) == []


def test_a_journal_that_is_a_link_is_not_written_through(model: Model, folder: Path, tmp_path: Path) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("")
    out.mkdir()
    scan(model, folder / "0.png", out)
    (out / "results.jsonl").unlink()
    (out / "results.jsonl").symlink_to(victim)
    with pytest.raises(UsageError, match=r"results\.jsonl: a link or no regular file"):
        scan(model, folder, out)
    assert victim.read_text() == ""


def test_what_the_search_left_out_is_counted(model: Model, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "in")
    for name in (".hidden.png", "notes.txt", "list.csv"):
        (tmp_path / "in" / name).write_text("no picture")
    tally, _ = scan(model, tmp_path / "in", tmp_path / "in" / "out", pictures=True)
    again, _ = scan(model, tmp_path / "in", tmp_path / "in" / "out", pictures=True)
    assert (tally.total, again.known) == (COUNT, COUNT)
    assert +again.skipped == {"hidden": 1, "other files": 2, "own output": 1}
    assert str(again).endswith("4 files and folders were left out (other files 2, hidden 1, own output 1)")
