import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.report import check_formats, write_reports
from cxr_edge.report.rows import COLUMNS


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_the_last_record_of_every_path(scanned: Path) -> None:
    assert write_reports(scanned, formats=["jsonl", "csv"]) == [scanned / "results.csv"]
    rows = read_csv(scanned)
    assert list(rows[0]) == [column.name for column in COLUMNS]
    assert len(rows) == 9
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
        check_formats(["parquet"])


def test_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="xlsx"):
        check_formats(["csv", "xlsx"])


def test_what_cannot_be_written_leaves_the_old_file(scanned: Path) -> None:
    (scanned / "results.csv").write_text("old")
    with (scanned / "results.jsonl").open("a") as journal:
        journal.write('\n{"no":"record"}\n')
    with pytest.raises(UsageError, match="line 11"):
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
    from cxr_edge.report.rows import LatestRecords
    from cxr_edge.report.summary import Summary

    summary = Summary()
    for row in LatestRecords(scanned).rows():
        summary.append(row)
    assert summary.labels == {"PNEUMONIA": 4, "NORMAL": 1}
    assert summary.errors == {"empty": 1, "truncated": 2}
    assert (summary.positive, summary.warned, summary.answered, summary.failed) == ("PNEUMONIA", 1, 5, 3)
    assert summary.refused == 1
    histogram = summary.histogram()
    assert (histogram[0], histogram[10], histogram[12], histogram[19]) == (1, 1, 1, 2)
    assert sum(histogram) == 5
    assert summary.common["bundle_name"] == "tiny"
    assert "label" not in summary.common
    assert json.dumps(summary.common)
    assert summary.least(2) == 0.97
