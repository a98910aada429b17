"""The whole audit of a tiny bundle, as a user runs it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_edge.errors import UsageError
from cxr_edge.files import MARKER, STAMP
from cxr_train.audit import Plan, audit
from cxr_train.audit.record import BARS, Bar, plain, read_record
from cxr_train.audit.refusals import pair_up
from cxr_train.cli import app

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, gated_bundle):
    out = tmp_path_factory.mktemp("audit")
    originals = out / "originals" / "NORMAL"
    originals.mkdir(parents=True)
    some = next((DATA / "kermany" / "train" / "NORMAL").iterdir())
    shutil.copy(some, originals)
    plan = Plan(
        gated_bundle,
        DATA / "kermany",
        masks=DATA / "lungmasks",
        originals=out / "originals",
        lime=1,
        resamples=20,
    )
    audit(plan, out)
    return out


@pytest.fixture
def record(folder):
    return read_record(folder / "audit.json")


def test_the_record_holds_every_part(record):
    assert record["data"]["images"] == {"NORMAL": 4, "PNEUMONIA": 4}
    assert record["bundle"]["gate"]["method"] == "distance from grey"
    assert record["bundle"]["threshold"] == 0.5
    assert len(record["markers"]["pasted"]) == 8
    assert record["evidence"]["PNEUMONIA"]["explained"] == 1
    assert record["originals"]["same"] == record["originals"]["pairs"] == 1
    assert record["gate"]["all_others"] is None
    assert [bar["what"] for bar in record["bars"]] == [bar.what for bar in BARS]
    judged = {bar["what"]: bar["met"] for bar in record["bars"]}
    assert judged["other pictures that the gate refuses"] is None
    assert judged["size of the bundle"] is True


def test_the_page_is_whole_and_asks_nobody(folder, record):
    page = (folder / "audit.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "<script" not in page
    assert page.count("data:image/png") == 6
    assert page.count("data:image/jpeg") == len(list((folder / "figures").glob("picture-*.jpg"))) > 0
    for bar in record["bars"]:
        assert bar["what"].replace("'", "&#39;") in page
    assert "not measured" in page
    assert "nan" not in re.sub(r"data:\S+", "", page).lower().split()


def test_what_it_draws_is_never_taken_for_an_input(folder):
    assert (folder / "figures" / MARKER).is_file()
    assert all(STAMP in path.read_bytes()[:256] for path in (folder / "figures").glob("picture-*.jpg"))


def test_another_audit_stands_beside_and_a_foreign_one_is_named_as_such(record, kermany, tiny_bundle, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**record, "name": "plain fine-tune"}), "utf-8")
    command = ["audit", "--bundle", tiny_bundle, "--data", kermany, "--split", "val", "--out", tmp_path / "out"]
    command += ["--beside", other, "--lime", 0, "--resamples", 10]
    done = CliRunner().invoke(app, [str(each) for each in command])
    assert done.exit_code == 0, done.output
    assert "MISSED" in done.stdout
    page = (tmp_path / "out" / "audit.html").read_text("utf-8")
    assert "labels that flip, plain fine-tune" in page
    assert "the columns cannot be compared" in page
    assert "no gate" in page
    assert "Not measured: no lung masks were given" in page


def test_what_is_no_audit_is_refused_before_any_work(tmp_path, tiny_bundle, kermany):
    path = tmp_path / "audit.json"
    path.write_text('{"schema": 2, "kind": "audit"}', "utf-8")
    with pytest.raises(UsageError, match="audit it again"):
        audit(Plan(tiny_bundle, kermany, beside=(path,)), tmp_path / "out")
    path.write_text("[]", "utf-8")
    with pytest.raises(UsageError, match=r"expected an audit\.json"):
        read_record(path)
    with pytest.raises(UsageError, match="no file has a copy of the same name"):
        pair_up(tmp_path, kermany)
    assert not (tmp_path / "out").exists()


def test_bars_judge_both_ways():
    least, most = Bar("a", lambda _: 0.5, least=0.5), Bar("b", lambda _: 0.5, most=0.4)
    assert (least.met(0.5), least.met(0.49), most.met(0.4), most.met(0.41)) == (True, False, True, False)
    assert most.met(None) is None
    assert Bar("c", lambda _: 0.0, most=0.0).met(0.0) is True
    assert (least.limit, most.limit) == ("at least 50 %", "at most 40 %")


def test_what_is_no_number_becomes_null():
    assert plain({"a": (float("nan"), 1.5, [float("inf")]), "b": None}) == {"a": [None, 1.5, [None]], "b": None}
