import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from threading import Event

import pytest

from cxr_edge.errors import InputError
from cxr_edge.scan.stream import in_order, read_names


def test_names_are_lines_with_any_byte_in_them(tmp_path):
    names = tmp_path / "names"
    names.write_bytes(b"a b.png\r\n\n\xff.dcm\nlast")
    assert [os.fsencode(path) for path in read_names(names)] == [b"a b.png", b"\xff.dcm", b"last"]


def test_a_file_of_names_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(InputError, match=r"names cannot be read \(No such file"):
        list(read_names(tmp_path / "missing"))


def test_outcomes_keep_the_order_of_the_jobs_whatever_takes_longest():
    later = Event()

    def work(job):
        if job == 0:
            assert later.wait(10)
        later.set()
        return 10 * job

    assert list(in_order(range(1, -1, -1), work, workers=2)) == [(1, 10), (0, 0)]
    later.clear()
    assert list(in_order(range(3), work, workers=2)) == [(0, 0), (1, 10), (2, 20)]


def test_an_outcome_does_not_wait_for_the_next_job():
    answered = Event()

    def jobs():
        yield "first"
        assert answered.wait(10), "the first outcome was kept back"
        yield "second"

    outcomes = in_order(jobs(), str.upper, workers=1)
    assert next(outcomes) == ("first", "FIRST")
    answered.set()
    assert list(outcomes) == [("second", "SECOND")]


def test_what_fails_is_raised_after_the_outcomes_before_it():
    def jobs():
        yield 1
        raise InputError("gone", kind="unreadable")

    outcomes = in_order(jobs(), float, workers=2)
    assert next(outcomes) == (1, 1.0)
    with pytest.raises(InputError, match="gone"):
        next(outcomes)


def test_no_more_than_a_few_jobs_are_taken_ahead():
    taken = count()
    outcomes = in_order((next(taken) for _ in range(1000)), str, workers=1)
    next(outcomes)
    assert next(taken) < 20


def test_one_process_answers_each_name_before_it_is_given_the_next(tiny_bundle, radiographs, tmp_path):
    files = sorted(radiographs.iterdir())[:3]
    command = [sys.executable, "-m", "cxr_edge", "predict", "--json", "-", "--provider", "cpu"]
    with subprocess.Popen(
        [*command, "--bundle", str(tiny_bundle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for file in (files[0], tmp_path / "missing.png", files[1], files[0]):
            process.stdin.write(os.fsencode(file) + b"\n")
            process.stdin.flush()
            record = json.loads(process.stdout.readline())
            assert record["path"] == str(file)
            assert record["status"] == ("ok" if file.exists() else "error")
        process.stdin.close()
        said = process.stderr.read().decode()
        assert process.stdout.read() == b""
    assert process.returncode == 3
    assert "1 of 4 inputs could not be answered" in said


def test_a_list_of_files_and_folders_gives_what_naming_them_gives(tiny_bundle, radiographs, tmp_path):
    names = tmp_path / "names"
    names.write_text(f"{radiographs}\n", encoding="utf-8")
    command = [sys.executable, "-m", "cxr_edge", "predict", "--json", "--bundle", str(tiny_bundle), "--provider", "cpu"]
    one_thread = ["--threads", "1"]
    listed = subprocess.run([*command, "--files-from", str(names)], capture_output=True, check=True)
    named = subprocess.run([*command, *one_thread, str(radiographs)], capture_output=True, check=True)
    assert listed.stdout == named.stdout
    assert len(listed.stdout.splitlines()) == len(list(radiographs.iterdir()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "no radiographs are named"), (("-", "--files-from", "-"), "standard input is named twice")],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(arguments, said):
    done = subprocess.run([sys.executable, "-m", "cxr_edge", "predict", *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_standard_input_is_one_name_among_others(tiny_bundle, radiographs):
    first, second = sorted(radiographs.iterdir())[:2]
    command = [sys.executable, "-m", "cxr_edge", "predict", "--json", str(first), "-", "--bundle", str(tiny_bundle)]
    done = subprocess.run(command, input=os.fsencode(second), capture_output=True, check=True)
    assert [Path(json.loads(line)["path"]) for line in done.stdout.splitlines()] == [first, second]
