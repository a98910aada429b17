import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.report import parse_formats, write_reports
from cxr_edge.results.journal import Journal
from cxr_edge.results.record import COLUMNS
from records import answer, failure, refusal


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_the_last_record_of_every_path(scanned: Path) -> None:
    assert write_reports(scanned, formats=["jsonl", "csv"]).files == (scanned / "results.csv",)
    rows = read_csv(scanned)
    assert list(rows[0]) == [column.name for column in COLUMNS]
    assert len(rows) == 10
    *_, last, refused = rows
    assert (refused["status"], refused["label"], refused["probability"]) == ("refused", "", "")
    assert (refused["gate_score"], refused["refusal"]) == ("7.5", "not like a chest radiograph")
    assert (last["path"], last["status"], float(last["probability"])) == ("in/retried.png", "ok", 0.99999)
    assert (last["width"], last["steps"], last["bundle_name"], last["logodds"]) == ("9", "window 40/80", "tiny", "-1.5")
    assert {row["error_kind"] for row in rows if row["status"] == "error"} == {"empty", "truncated"}


def test_csv_is_safe_for_spreadsheets(scanned: Path) -> None:
    write_reports(scanned, formats=["csv"])
    paths = [row["path"] for row in read_csv(scanned)]
    assert r"in/\udcff\n.png" in paths
    assert any(path.startswith("'=HYPERLINK") for path in paths)
    assert (scanned / "results.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_parquet_has_types(scanned: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_reports(scanned, formats=["csv", "parquet"])
    table = parquet.read_table(scanned / "results.parquet")
    assert table.column_names == [column.name for column in COLUMNS]
    assert table["probability"].to_pylist() == [
        float(row["probability"] or "nan") if row["probability"] else None for row in read_csv(scanned)
    ]
    assert table["warnings"].to_pylist()[1] == ["Very narrow."]
    assert table["width"].to_pylist()[0] == 9


def test_parquet_without_pyarrow_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'cxr-edge\[parquet\]'"):
        parse_formats("parquet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jsonl, csv", ("jsonl", "csv")),
        ("HTML", ("html",)),
        (" html ,csv,,CSV ", ("csv", "html")),
        ("parquet,jsonl", ("jsonl", "parquet")),
    ],
)
def test_a_list_of_formats_is_read_alike_everywhere(text: str, expected: tuple[str, ...]) -> None:
    assert parse_formats(text) == expected


@pytest.mark.parametrize(("text", "said"), [("csv,xlsx", "xlsx"), ("", "no format"), (" , ", "no format")])
def test_unknown_formats_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_formats(text)


def test_bad_lines_are_named_or_counted_and_kept(scanned: Path) -> None:
    journal = scanned / "results.jsonl"
    good = journal.read_bytes()
    bad = [b"nonsense\n", b'{"path": [1]}\n', b"\xff\n"]
    first, _, rest = good.partition(b"\n")
    journal.write_bytes(first + b"\n" + b"".join(bad) + rest)
    with pytest.raises(UsageError, match="line 2 is no record of a scan: no JSON"):
        write_reports(scanned, formats=["csv"])
    for _ in range(2):
        written = write_reports(scanned, formats=["csv", "html"], skip_bad=True)
        assert written.left_out == 3
        assert (scanned / "results.bad.jsonl").read_bytes() == b"".join(bad)
    assert len(read_csv(scanned)) == 10
    assert journal.read_bytes() == first + b"\n" + b"".join(bad) + rest


@pytest.mark.parametrize("content", [b"nonsense", b"[]", b'{"seconds": "long", "bundle": 7}', b"[" * 99_999])
def test_a_damaged_description_is_one_line_and_can_be_passed_over(scanned: Path, content: bytes) -> None:
    (scanned / "scan.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"scan\.json: no description of a scan"):
        write_reports(scanned, formats=["html"])
    write_reports(scanned, formats=["html"], skip_bad=True)
    assert "Operating point</dt>" not in (scanned / "report.html").read_text("utf-8")


def test_the_journal_of_the_first_release_is_reported(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "data" / "journals" / "schema1", tmp_path / "old")
    write_reports(tmp_path / "old", formats=["csv", "html"])
    rows = {Path(row["path"]).name: row for row in read_csv(tmp_path / "old")}
    assert [row["status"] for row in rows.values()].count("ok") == 3
    virus = rows["person724_virus_1343.jpeg"]
    assert (virus["label"], virus["explained"], virus["operating_point"]) == ("PNEUMONIA", "PNEUMONIA", "recall-99.4")
    assert float(virus["lime_inside"]) > 0.5
    assert rows["notes.png"]["error_kind"] == "not-an-image"
    assert "pneumonia-mobilenet 1.1.0" in (tmp_path / "old" / "report.html").read_text("utf-8")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_reports_are_as_open_as_their_folder(scanned: Path) -> None:
    for mode in (0o700, 0o750):
        scanned.chmod(mode)
        for path in write_reports(scanned, formats=["csv", "parquet", "html"]).files:
            assert path.stat().st_mode & 0o777 == mode & 0o666


ODD: list[Any] = [None, True, 7, -1, 1e300, 10**400, "x", "\ud800\n<", [], ["x"], {}, {"x": 1}]


def mutated(value: Any) -> Iterator[Any]:
    """The same JSON with each of its values replaced by each of `ODD`, or left out."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield {other: each for other, each in value.items() if other != name}
            yield from ({**value, name: each} for each in (*ODD, *mutated(inside)))
    elif isinstance(value, list) and value:
        yield from ([each, *value[1:]] for each in (*ODD, *mutated(value[0])))


def test_whatever_a_journal_holds_is_reported_or_named(tmp_path: Path) -> None:
    frozen = (Path(__file__).parents[2] / "data" / "journals" / "schema1" / "results.jsonl").read_text().splitlines()
    whole = [*map(json.loads, frozen), refusal("a"), failure("b"), answer("c", test_time_augmentation=None)]
    lines = [json.dumps(each) for record in whole for each in mutated(record)]
    assert len(lines) > 4000
    (tmp_path / "results.jsonl").write_text("\n".join([*frozen, *lines]) + "\n")
    written = write_reports(tmp_path, formats=["csv", "parquet", "html"], skip_bad=True)
    assert 0.5 < written.left_out / len(lines) < 1
    journal = Journal(tmp_path, skip_bad=True)
    assert journal.left_out == written.left_out
    journal.close()
    assert write_reports(tmp_path, formats=["csv", "html"]).left_out == 0


def test_a_report_needs_no_onnx_runtime(scanned: Path) -> None:
    program = (
        "import sys, importlib, pkgutil\n"
        "sys.modules['onnxruntime'] = None\n"
        "import cxr_edge.results\n"
        "for each in pkgutil.iter_modules(cxr_edge.results.__path__):\n"
        "    importlib.import_module('cxr_edge.results.' + each.name)\n"
        "from cxr_edge.cli import run\n"
        "sys.exit(run())\n"
    )
    command = [sys.executable, "-c", program, "report", scanned, "--formats", "csv,parquet,HTML"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 3


def test_what_cannot_be_written_leaves_the_old_file(scanned: Path) -> None:
    (scanned / "results.csv").write_text("old")
    with (scanned / "results.jsonl").open("a") as journal:
        journal.write('\n{"no":"record"}\n')
    with pytest.raises(UsageError, match="line 12"):
        write_reports(scanned, formats=["csv"])
    assert (scanned / "results.csv").read_text() == "old"
    (scanned / "results.csv").unlink()
    (scanned / "results.csv").mkdir()
    (scanned / "results.jsonl").write_text("")
    with pytest.raises(OutputError):
        write_reports(scanned, formats=["csv"])
    assert not [path for path in scanned.iterdir() if path.name.startswith(".results")]


def test_command(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cxr_edge", "report", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(scanned)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(scanned / "results.csv"), str(scanned / "report.html")]
    empty = run(tmp_path_factory.mktemp("empty"))
    assert (empty.returncode, "cxr-edge scan" in empty.stderr) == (2, True)


def test_empty_journal_gives_empty_reports(scanned: Path) -> None:
    (scanned / "results.jsonl").write_text("")
    (scanned / "scan.json").unlink()
    write_reports(scanned, formats=["csv", "html", "parquet"])
    assert read_csv(scanned) == []
    assert "No input was answered." in (scanned / "report.html").read_text("utf-8")


def test_counts(scanned: Path) -> None:
    from cxr_edge.report.summary import LatestRecords, Summary

    summary = Summary()
    for row in LatestRecords(scanned).rows():
        summary.append(row)
    assert summary.labels == {"PNEUMONIA": 5, "NORMAL": 1}
    assert summary.errors == {"empty": 1, "truncated": 2}
    assert (summary.positive, summary.warned, summary.answered, summary.failed) == ("PNEUMONIA", 1, 6, 3)
    assert summary.refused == 1
    histogram = summary.histogram()
    assert (histogram[0], histogram[10], histogram[12], histogram[19]) == (1, 1, 1, 3)
    assert sum(histogram) == 6
    assert summary.common["bundle_name"] == "tiny"
    assert "label" not in summary.common
    assert json.dumps(summary.common)
    assert summary.least(2) == 0.97


def test_warnings_of_one_kind_are_one_line_with_its_range() -> None:
    from cxr_edge.report.summary import Kinds

    kinds = Kinds()
    for turned, names in ((2, "a, b"), (11, "c"), (3, "a")):
        kinds.add(f"The label is not stable: {turned} of 13 small changes turn it ({names}).")
    kinds.add("Modality (0008,0060) is CT.")
    kinds.add("Modality (0008,0060) is MR.")
    assert kinds.most_common(5) == [
        ("The label is not stable: 2 to 11 of 13 small changes turn it (\N{HORIZONTAL ELLIPSIS}).", 3),
        ("Modality (0008,0060) is CT.", 1),
        ("Modality (0008,0060) is MR.", 1),
    ]
    for number in range(200):
        kinds.add(f"kind {'x' * number}.")
    assert len(kinds.most_common(1000)) == 100
