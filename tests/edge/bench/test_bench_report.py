import json

import pytest

from cxr_edge.bench.cases import Case
from cxr_edge.bench.compare import compare
from cxr_edge.bench.report import check_writable, read_report, to_text
from cxr_edge.errors import UsageError

PREDICT = Case("predict", "session", "cpu", "fp32", 1, 4)
LIME = Case("lime", "file", "cpu", "int8", 1, 4)


def test_a_report_and_its_comparison_survive_json(report, figures, tmp_path):
    before, now = report({PREDICT: figures(10.0), LIME: figures(3.25)}), report({PREDICT: figures(7.0)})
    file = tmp_path / "before.json"
    file.write_text(to_text(before.to_json() | {"comparison": compare(before, now).to_json()}), encoding="ascii")
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
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\udcff", "no JSON"),
        ("[]", "no report"),
        ("null", "no report"),
        ("{}", "'kind' is missing"),
        (damaged(lambda record: record.update(kind="scan")), "kind 'scan'"),
        (damaged(lambda record: record.update(schema=2)), "schema 2, this version reads 1"),
        (damaged(lambda record: record.pop("environment")), "'environment' is missing"),
        (damaged(lambda record: record["environment"].pop("cores")), "'cores' is missing"),
        (damaged(lambda record: record["environment"].update(cores="many")), "many"),
        (damaged(lambda record: record["rule"].update(within=-1)), "expected more than 0"),
        (damaged(lambda record: record["rule"].update(unknown=1)), "unknown"),
        (damaged(lambda record: record["results"][0].update(task="fly")), "task 'fly'"),
        (damaged(lambda record: record["results"][0]["latency_ms"].update(p50=0)), "0 is no figure above 0"),
        (damaged(lambda record: record["results"][0]["latency_ms"].update(p50="1")), "'1' is no number"),
        (damaged(lambda record: record["results"][0].update(throughput_per_s=float("nan"))), "nan is no figure"),
        (damaged(lambda record: record["results"][0].update(runs=float("inf"))), "inf is no figure"),
        (damaged(lambda record: record["results"][0].update(spread=None)), "None is no number"),
        (damaged(lambda record: record["results"][0].update(spread=float("nan"))), "nan is no figure from 0 on"),
        (damaged(lambda record: record.update(results=3)), "no report"),
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
    assert str(caught.value).startswith(f"{file}: no ")
    assert said in str(caught.value)
    assert "cxr-edge bench --out" in str(caught.value)


def test_a_missing_report_is_refused(tmp_path):
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_report(path)


def test_where_nothing_can_be_written_is_found_out_first(tmp_path):
    check_writable(tmp_path / "new.json")
    for path in (tmp_path, tmp_path / "no folder" / "new.json"):
        with pytest.raises(UsageError, match="cannot be written"):
            check_writable(path)
