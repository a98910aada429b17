"""Whole scans, as processes and in this one, with the tiny bundle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of small images that all differ, a copy of one under another name, and two bad ones."""
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(7)
    for number in range(COUNT):
        path = folder / f"ward {number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 256, (64, 80), np.uint8) // (1 + number % 2))
    (folder / "copy.png").write_bytes((folder / "ward 0" / "0.png").read_bytes())
    (folder / "empty.png").touch()
    (folder / "text.jpeg").write_text("no image")
    (folder / ".hidden.png").write_text("never looked at")
    (folder / "notes.txt").write_text("never looked at")
    return folder


def command(bundle: Path, *arguments: object) -> list[str]:
    options = ("--bundle", bundle, "--provider", "cpu")
    return [sys.executable, "-m", "cxr_edge", "scan", *map(str, (*arguments, *options))]


def scan(bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(bundle, *arguments), capture_output=True, text=True, check=False)


def records(out: Path) -> dict[str, dict[str, Any]]:
    """The records by path, without times; fails if a path has two."""
    found = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for record in found:
        record.pop("time")
    by_path = {record["path"]: record for record in found}
    assert len(by_path) == len(found)
    return by_path


@pytest.fixture(scope="module")
def undisturbed(tiny_bundle: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("undisturbed")
    done = scan(tiny_bundle, folder, "--out", out, "--formats", "jsonl", "--workers", "2")
    assert done.returncode == 3, done.stderr
    assert f"{COUNT + 3} inputs" in done.stdout
    assert "2 errors (" in done.stdout
    return records(out)


def test_every_file_has_the_record_of_predict(
    tiny_bundle: Path, folder: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    predict = [sys.executable, "-m", "cxr_edge", "predict", "--json", folder, "--bundle", tiny_bundle]
    lines = subprocess.run(
        [*map(str, predict), "--provider", "cpu", "--threads", "1"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    assert len(lines) == COUNT + 3
    for line in lines:
        said = json.loads(line)
        record = undisturbed[said["path"]]
        assert {name: record[name] for name in said} == said
        assert set(record) - set(said) == {"sha256", "parameters"}


def test_the_same_content_is_answered_once_and_recorded_twice(
    folder: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    one, two = undisturbed[str(folder / "copy.png")], undisturbed[str(folder / "ward 0" / "0.png")]
    assert one["source"]["path"] == one["path"] != two["path"]
    for record in (one, two):
        assert record["path"] == record["source"]["path"]
    assert {**one, "path": "", "source": ""} == {**two, "path": "", "source": ""}


def test_a_restart_repeats_nothing(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = (folder, "--out", tmp_path, "--formats", "jsonl")
    scan(tiny_bundle, *options)
    journal = tmp_path / "results.jsonl"
    before = journal.read_bytes()
    again = scan(tiny_bundle, *options)
    assert again.returncode == 3
    assert f"{COUNT + 3} were answered before" in again.stdout
    assert journal.read_bytes() == before


def test_killed_again_and_again_it_ends_as_if_undisturbed(
    tiny_bundle: Path, folder: Path, undisturbed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    options = command(tiny_bundle, folder, "--out", tmp_path, "--formats", "jsonl", "--workers", "2")
    journal = tmp_path / "results.jsonl"
    for goal in sorted(random.integers(0, COUNT, 4)):
        with subprocess.Popen(options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < goal):
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
    with journal.open("ab") as file:
        file.write(b'{"schema": 1, "path": "half a li')  # what a power cut leaves behind
    done = subprocess.run(options, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "ended abruptly" in done.stderr
    assert records(tmp_path) == undisturbed


@pytest.mark.parametrize("workers", [1, 3])
def test_a_batch_answers_as_one_by_one_whatever_runs_together(
    tiny_bundle: Path, folder: Path, undisturbed: dict[str, dict[str, Any]], tmp_path: Path, workers: int
) -> None:
    options = ("--formats", "jsonl", "--batch-size", "4", "--workers", workers)
    assert scan(tiny_bundle, folder / "ward 1", "--out", tmp_path, *options).returncode == 0
    few = records(tmp_path)
    assert scan(tiny_bundle, folder, "--out", tmp_path, *options).returncode == 3
    all_of_them = records(tmp_path)
    assert {path: all_of_them[path] for path in few} == few
    assert all_of_them.keys() == undisturbed.keys()
    for path, record in all_of_them.items():
        if record["status"] == "ok":
            assert record["logodds"] == pytest.approx(undisturbed[path]["logodds"], abs=1e-5)


def test_other_parameters_are_refused_by_name(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    scan(tiny_bundle, folder, "--out", tmp_path, "--formats", "jsonl")
    before = (tmp_path / "results.jsonl").read_bytes()
    refused = scan(tiny_bundle, folder, "--out", tmp_path, "--formats", "jsonl", "--operating-point", "strict")
    assert refused.returncode == 2
    assert "operating_point was balanced, now strict" in refused.stderr
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_ctrl_c_finishes_what_is_in_work(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = command(tiny_bundle, folder, "--out", tmp_path, "--explain", "lime", "--explain-if", "all")
    journal = tmp_path / "results.jsonl"
    with subprocess.Popen(options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not journal.exists() or not journal.stat().st_size:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in said
    assert 0 < len(records(tmp_path)) < COUNT + 3
    assert not (tmp_path / ".lock").read_bytes()


def test_two_scans_never_share_a_folder(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tiny_bundle, folder, "--out", tmp_path, "--watch", "--formats", "jsonl"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        journal = tmp_path / "results.jsonl"
        while not journal.exists() or journal.read_bytes().count(b"\n") < COUNT + 3:
            assert first.poll() is None, first.returncode
            time.sleep(0.01)
        second = scan(tiny_bundle, folder, "--out", tmp_path, "--formats", "jsonl")
        first.send_signal(signal.SIGTERM)
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert first.returncode == 3


def test_pictures_and_explanations(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    done = scan(tiny_bundle, folder / "ward 0", "--out", tmp_path, "--explain", "gradcam", "--explain-if", "all")
    assert done.returncode == 0, done.stderr
    for record in records(tmp_path).values():
        files = record["explanation"]["files"]
        assert set(files) == {"thumbnail.jpg", "gradcam.jpg", "radiograph.jpg", "gradcam.png"}
        thumbnail, heat = (cv2.imread(str(tmp_path / files[name])) for name in ("thumbnail.jpg", "gradcam.jpg"))
        assert thumbnail.shape == heat.shape
        assert np.shape(record["explanation"]["saliency"]["raw"]) == (7, 7)
    assert (tmp_path / "results.csv").exists()
    assert (tmp_path / "report.html").exists()


def test_annotated_figures_lie_as_the_inputs_do(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    for place in ("ward", "deep/er"):  # the same contents in another place
        shutil.copytree(folder, inputs / place)
    scan(tiny_bundle, inputs, "--out", out)
    positive = {path for path, record in records(out).items() if record.get("label") == "PNEUMONIA"}
    assert len(positive) > 1
    for _ in range(2):  # what was answered before gets its figures now, and once
        scan(tiny_bundle, inputs, "--out", out, "--annotated")
        drawn = {path.relative_to(out / "annotated") for path in (out / "annotated").rglob("*.png")}
        assert drawn == {Path(f"{Path(path).relative_to(inputs)}.png") for path in positive}
    assert cv2.imread(str(next((out / "annotated").rglob("*.png")))).shape[1] > 500


def test_output_that_cannot_be_written(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = scan(tiny_bundle, folder, "--out", tmp_path / "file" / "out")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_deleted_while_running(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    with subprocess.Popen(
        command(tiny_bundle, inputs, "--out", out, "--watch", "--formats", "jsonl"), stderr=subprocess.PIPE, text=True
    ) as process:
        while not (out / "results.jsonl").exists():
            time.sleep(0.01)
        (out / "results.jsonl").unlink()
        (inputs / "late.png").write_bytes((folder / "copy.png").read_bytes())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "deleted while the scan was running" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--formats", "xlsx"), "xlsx"), (("--poll", "3"), "--watch"), (("--precision", "fp16"), "fp16")],
)
def test_wrong_usage(tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = scan(tiny_bundle, tmp_path, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_no_images(tiny_bundle: Path, tmp_path: Path) -> None:
    done = scan(tiny_bundle, tmp_path, "--out", tmp_path / "out", "--formats", "jsonl")
    assert done.returncode == 3
    assert "no images" in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind only ordinary users")
def test_read_only_output(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = scan(tiny_bundle, folder, "--out", tmp_path)
    tmp_path.chmod(0o700)
    assert done.returncode == 3
    assert "check its permissions" in done.stderr


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize(("options", "mode"), [((), 0o700), (("--mode", "750"), 0o750)])
def test_results_are_the_users_alone_unless_said_otherwise(
    tiny_bundle: Path, folder: Path, tmp_path: Path, options: tuple[str, ...], mode: int
) -> None:
    out = tmp_path / "deep" / "out"
    done = scan(tiny_bundle, folder / "ward 0", "--out", out, "--formats", "jsonl,csv,html,parquet", *options)
    assert done.returncode == 0, done.stderr
    found = {path: permissions(path) for path in out.rglob("*")}
    assert {path.name for path in found} >= {
        "results.jsonl",
        "results.csv",
        "report.html",
        "scan.json",
        "thumbnail.jpg",
    }
    assert {permissions(out.parent), permissions(out)} == {mode}
    for path, found_mode in found.items():
        assert found_mode == (mode if path.is_dir() else mode & 0o666), path
    assert (out / ".cxr-edge").is_file()
    assert (out / "assets" / ".cxr-edge").is_file()


def test_a_page_can_be_asked_for_later(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    assert scan(tiny_bundle, folder / "ward 0", "--out", tmp_path / "out", "--formats", "jsonl").returncode == 0
    journal = (tmp_path / "out" / "results.jsonl").read_bytes()
    again = scan(tiny_bundle, folder / "ward 0", "--out", tmp_path / "out", "--formats", "JSONL, HTML")
    assert again.returncode == 0, again.stderr
    assert "0 errors" in again.stdout
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == journal
    thumbnails = list((tmp_path / "out" / "assets").rglob("thumbnail.jpg"))
    assert len(thumbnails) == len({json.loads(line)["sha256"] for line in journal.splitlines()})
    assert (tmp_path / "out" / "report.html").exists()


def test_one_bad_line_blocks_nothing_for_ever(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = (folder / "ward 0", "--out", tmp_path / "out", "--formats", "jsonl")
    scan(tiny_bundle, *options)
    before, journal = records(tmp_path / "out"), tmp_path / "out" / "results.jsonl"
    _, *rest = journal.read_bytes().splitlines(keepends=True)
    bad = b'{"path": "a", "status": {}}\n'
    journal.write_bytes(bad + b"".join(rest))
    refused = scan(tiny_bundle, *options)
    assert refused.returncode == 2
    assert "line 1 is no record of a scan" in refused.stderr
    assert "--skip-bad" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = scan(tiny_bundle, *options, "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "1 lines of the journal were no records" in done.stderr
    assert records(tmp_path / "out") == before
    assert (tmp_path / "out" / "results.bad.jsonl").read_bytes() == bad
    assert scan(tiny_bundle, *options).returncode == 0


@pytest.mark.parametrize("spelling", ["same", "dots", "link"])
def test_results_never_lie_among_the_radiographs(
    tiny_bundle: Path, folder: Path, tmp_path: Path, spelling: str
) -> None:
    inputs, link = tmp_path / "in", tmp_path / "link"
    shutil.copytree(folder / "ward 0", inputs)
    link.symlink_to(inputs, target_is_directory=True)
    out = {"same": inputs, "dots": inputs / ".." / "in", "link": link}[spelling]
    before = sorted(inputs.rglob("*"))
    done = scan(tiny_bundle, inputs, "--out", out)
    assert done.returncode == 2
    assert "is an input" in done.stderr
    assert sorted(inputs.rglob("*")) == before


def test_a_watched_folder_has_a_page_while_it_is_watched(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    whole = (folder / "copy.png").read_bytes()
    (inputs / "late.png").write_bytes(whole[:200])
    os.utime(inputs / "late.png", (0, 0))
    program = "from cxr_edge.scan import local; local.REFRESH = 0.5; from cxr_edge.cli import main; main()"
    arguments = [inputs, "--out", out, "--watch", "--bundle", tiny_bundle, "--provider", "cpu"]

    def wait_for(text: str) -> None:
        until = time.monotonic() + 60
        while not (out / "results.csv").exists() or text not in (out / "results.csv").read_text("utf-8-sig"):
            assert time.monotonic() < until
            time.sleep(0.05)

    with subprocess.Popen(
        [sys.executable, "-c", program, "scan", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for("truncated")
            (inputs / "late.png").write_bytes(whole)
            wait_for(",ok,")
            assert process.poll() is None
            assert (out / "report.html").exists()
        finally:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith("1 inputs: ")
    assert "0 errors" in said


def test_an_output_folder_that_is_moved_away(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    options = (inputs, "--out", out, "--watch", "--formats", "jsonl,html")
    with subprocess.Popen(command(tiny_bundle, *options), stderr=subprocess.PIPE, text=True) as process:
        while not (out / "results.jsonl").exists():
            time.sleep(0.01)
        out.rename(tmp_path / "moved")
        (inputs / "late.png").write_bytes((folder / "copy.png").read_bytes())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert said.count("\n") == 1, said
    assert not out.exists()


def test_a_damaged_description_is_one_line(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = (folder / "ward 0", "--out", tmp_path / "out", "--formats", "jsonl")
    scan(tiny_bundle, *options)
    (tmp_path / "out" / "scan.json").write_text('{"schema": 1, "bundle": [], "seconds": {}}')
    done = scan(tiny_bundle, *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "no description of a scan" in done.stderr


def test_a_scan_that_was_begun_before_tune_goes_on_as_it_was(tiny_bundle, folder, tmp_path, monkeypatch):
    from cxr_edge.bundle.bundle import Bundle
    from cxr_edge.runtime.tuning import TunedEngine, Tuning, describe_setting, write_tuning

    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    first = scan(tiny_bundle, folder, "--out", tmp_path / "before")
    bundle = Bundle.open(tiny_bundle)
    engines = dict.fromkeys(("single", "scan", "lime"), TunedEngine("cpu", "int8", 1, 4, 1.0, 1.0))
    write_tuning(bundle, Tuning(describe_setting(bundle), "now", engines))
    again = scan(tiny_bundle, folder, "--out", tmp_path / "before")
    assert again.returncode == first.returncode
    assert json.loads((tmp_path / "before" / "scan.json").read_bytes())["precision"] == "fp32"
