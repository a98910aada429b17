import errno
import json
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cxr_edge.bench.cases import Case
from cxr_edge.bench.compare import compare_reports, show_comparison
from cxr_edge.bench.report import check_writable, read_report, show_report, write
from cxr_edge.errors import OutputError, UsageError

PREDICT = Case("predict", "session", "cpu", "fp32", 1, 4)
LIME = Case("lime", "file", "cpu", "int8", 1, 4)


def test_a_report_and_its_comparison_survive_json(report, figures, tmp_path):
    before, now = report({PREDICT: figures(10.0), LIME: figures(3.25)}), report({PREDICT: figures(7.0)})
    file = tmp_path / "before.json"
    file.write_text(
        json.dumps(before.to_json() | {"comparison": compare_reports(before, now).to_json()}), encoding="ascii"
    )
    assert read_report(file) == before
    record = json.loads(file.read_text(encoding="ascii"))["comparison"]
    assert record["ratios"][0]["p50"] == pytest.approx(0.7)
    assert record["ratios"][0]["verdict"] == "quicker"


def damaged(change):
    def content(record):
        change(record)
        return json.dumps(record)

    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Input data was truncated"),
        ("[" * 100_000, "Expected `object`, got `array`"),
        ("\udcff", "JSON is malformed"),
        ("[]", "Expected `object`, got `array`"),
        ("null", "Expected `object`, got `null`"),
        ("{}", "kind None"),
        (damaged(lambda record: record.update(kind="scan")), "kind 'scan'"),
        (damaged(lambda record: record.update(schema=2)), "schema 2, this version reads 1"),
        (damaged(lambda record: record.pop("environment")), "'environment' is missing"),
        (
            damaged(lambda record: record["environment"].pop("cores")),
            "environment: Object missing required field `cores`",
        ),
        (
            damaged(lambda record: record["environment"].update(cores="many")),
            "environment: Expected `int`, got `str` - at `cores`",
        ),
        (damaged(lambda record: record.update(bundle="tiny")), "bundle: Expected `object`, got `str`"),
        (damaged(lambda record: record["bundle"].update(name=None)), "bundle: Expected `str`, got `null` - at `name`"),
        (
            damaged(lambda record: record["inputs"].update(formats="PNG")),
            "inputs: Expected `array`, got `str` - at `formats`",
        ),
        (damaged(lambda record: record.update(created=1)), "created: Expected `str`, got `int`"),
        (
            damaged(lambda record: record["rule"].update(within=-1)),
            "rule: windows within -100 % of each other; expected more than 0",
        ),
        (
            damaged(lambda record: record["results"][0].update(task="fly")),
            "case of result 1: Invalid enum value 'fly' - at `task`",
        ),
        (
            damaged(lambda record: record["results"][0].update(threads=0)),
            "case of result 1: Expected `int` >= 1 - at `threads`",
        ),
        (
            damaged(lambda record: record["results"][0]["latency_ms"].update(p50=0)),
            "Expected `float` > 0.0 - at `latency_ms.p50`",
        ),
        (
            damaged(lambda record: record["results"][0]["latency_ms"].update(p50="1")),
            "Expected `float`, got `str` - at `latency_ms.p50`",
        ),
        (damaged(lambda record: record["results"][0].update(throughput_per_s=float("nan"))), "JSON is malformed"),
        (damaged(lambda record: record["results"][0].update(spread=10**400)), "out of range"),
        (
            damaged(lambda record: record["results"][0].update(runs=1.5)),
            "figures of result 1: Expected `int`, got `float` - at `runs`",
        ),
        (
            damaged(lambda record: record["results"][0].update(spread=None)),
            "Expected `float`, got `null` - at `spread`",
        ),
        (damaged(lambda record: record["results"][0].update(spread=-0.1)), "Expected `float` >= 0.0 - at `spread`"),
        (damaged(lambda record: record.update(results=3)), "results: Expected `array`, got `int`"),
        (damaged(lambda record: record.update(results=[3])), "results: Expected `object`, got `int`"),
        (damaged(lambda record: record.update(results=[])), "no results"),
    ],
)
def test_a_damaged_report_is_refused_with_what_is_wrong(report, figures, tmp_path, content, said):
    if not isinstance(content, str):
        content = content(report({PREDICT: figures(10.0)}).to_json())
    file = tmp_path / "before.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_report(file)
    assert str(caught.value).startswith(f"{file}: no report of a benchmark (")
    assert said in str(caught.value)
    assert "cxr-edge bench --out" in str(caught.value)


def test_a_missing_report_is_refused(tmp_path):
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_report(path)


def test_a_report_of_the_first_release_is_read(report, figures, tmp_path):
    record = report({PREDICT: figures(10.0)}).to_json()
    del record["environment"]["instruction_sets"], record["environment"]["usable_memory"]
    file = tmp_path / "before.json"
    file.write_text(json.dumps(record), encoding="ascii")
    assert read_report(file).machine.instruction_sets is None


def test_where_nothing_can_be_written_is_found_out_first(tmp_path):
    check_writable(tmp_path / "new.json")
    (tmp_path / "old.json").write_text("{}", encoding="ascii")
    check_writable(tmp_path / "old.json")
    for path in (tmp_path, tmp_path / "no folder" / "new.json"):
        with pytest.raises(UsageError, match="cannot be written"):
            check_writable(path)


def test_no_link_no_device_and_no_input_is_ever_replaced(tmp_path):
    radiograph, link = tmp_path / "radiograph.png", tmp_path / "link.json"
    radiograph.write_bytes(b"pixels")
    link.symlink_to(radiograph)
    with pytest.raises(UsageError, match="is read by this command, and would be replaced"):
        check_writable(tmp_path / "." / "radiograph.png", inputs=[radiograph])
    for path in (link, Path(os.devnull)):
        with pytest.raises(UsageError, match="no regular file"):
            check_writable(path)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "now.json"
    file.write_bytes(b"before")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"now\.json: cannot be written \(No space left on device\)"):
        write(file, b"now")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("now.json", b"before")]


def test_a_narrow_terminal_loses_nothing(report, figures):
    now = report(
        {PREDICT: figures(10.0), replace(PREDICT, threads=8, provider="cuda"): figures(3.25), LIME: figures(5.0)}
    )
    shown = {}
    for width in (20, 40, 300):
        console = Console(width=width, color_system=None, record=True, file=StringIO())
        show_report(now, console, reasons={"cpu": "asked for", "cuda": "CUDA started"})
        show_comparison(compare_reports(now, now), console)
        shown[width] = console.export_text().split()
    assert shown[20] == shown[40] == shown[300]
    assert "predict session cuda 8 fp32 1 3.25 3.25 3.25 6.50 308 100" in " ".join(shown[300])
    assert "\u2026" not in " ".join(shown[20])
