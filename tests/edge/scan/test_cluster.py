"""The Ray engine on a Ray of this machine alone, against the local engine."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.api import load
from cxr_edge.errors import UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.report import write_reports
from cxr_edge.results.index import Parameters
from cxr_edge.results.schema import BundleRecord
from cxr_edge.scan import local

ray = pytest.importorskip("ray", reason="needs the ray extra: pip install 'cxr-edge[cpu,ray]'")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = [
    pytest.mark.ray,
    # Ray's own
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def answer(engine: str, inputs: Path, bundle: Path | None, out: Path, explain: str = "none") -> Any:
    from cxr_edge.scan import cluster

    model = load(bundle, provider="cpu", threads=1)
    parameters = Parameters(
        engine=engine,
        bundle=BundleRecord(**model.bundle.to_json()),
        provider="cpu",
        precision="fp32",
        operating_point=model.classifier.rule.operating_point,
        gate=model.classifier.gate is not None,
        batch_size=1,
        explain=explain,
        explain_if="all",
    )
    discovery = Discovery((inputs,), output=out)
    if engine == "local":
        return local.scan_locally(model, discovery, parameters, out=out, workers=2, pictures=explain != "none")[0]
    return cluster.scan_on_cluster(
        discovery, parameters, out=out, bundle=bundle, address=None, workers=1, pictures=explain != "none"
    )


def records(lines: list[str]) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in lines]
    assert len({record["path"] for record in found}) == len(found)
    return {record.pop("path"): {**record, "time": None} for record in found}


def check(inputs: Path, bundle: Path | None, tmp_path: Path) -> None:
    here = answer("local", inputs, bundle, tmp_path / "local")
    there = answer("ray", inputs, bundle, tmp_path / "ray")
    assert (there.labels, there.errors) == (here.labels, here.errors)
    expected = records((tmp_path / "local" / "results.jsonl").read_text().splitlines())
    table = parquet.read_table(tmp_path / "ray" / "records")
    found = records(table.column("record").to_pylist())
    assert found.keys() == expected.keys()
    for path, record in found.items():
        if record["status"] == "ok":
            assert record["label"] == expected[path]["label"]
            assert record.pop("probability") == pytest.approx(expected[path].pop("probability"), abs=1e-5)
            assert record.pop("logodds") == pytest.approx(expected[path].pop("logodds"), abs=1e-4)
        assert record == expected[path]
    again = answer("ray", inputs, bundle, tmp_path / "ray")
    assert again.known == again.total == there.total
    with pytest.raises(UsageError, match="engine was ray"):
        answer("local", inputs, bundle, tmp_path / "ray")


def test_the_same_records_as_the_local_engine(tiny_bundle: Path, radiographs: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for path in radiographs.iterdir():
        (inputs / path.name).write_bytes(path.read_bytes())
    (inputs / os.fsdecode(b"not utf-8 \xff.png")).write_text("no image")
    (inputs / "empty.jpeg").touch()
    check(inputs, tiny_bundle, tmp_path)
    out = tmp_path / "ray"
    slices = len(list((out / "records").glob("slice-*")))
    assert slices == 1  # the same failures again are not written again
    (inputs / "empty.jpeg").write_bytes((radiographs / "NORMAL2-IM-0588-0001.jpeg").read_bytes())
    later = answer("ray", inputs, tiny_bundle, out)
    assert (later.errors, later.recorded) == ({"not-an-image": 1}, 1)
    written = write_reports(out, formats=["csv", "html"])
    assert [path.name for path in written.files] == ["results.csv", "report.html"]
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == later.total
    assert rows["empty.jpeg"]["status"] == "ok"


def test_explanations_and_pictures_are_those_of_the_local_engine(
    lung_bundle: Path, radiographs: Path, tmp_path: Path
) -> None:
    answer("local", radiographs, lung_bundle, tmp_path / "local", "gradcam")
    answer("ray", radiographs, lung_bundle, tmp_path / "ray", "gradcam")
    expected = records((tmp_path / "local" / "results.jsonl").read_text().splitlines())
    found = records(parquet.read_table(tmp_path / "ray" / "records").column("record").to_pylist())
    assert found.keys() == expected.keys()
    explained = {path: record["explanation"] for path, record in expected.items() if "explanation" in record}
    assert explained
    for path, explanation in explained.items():
        there = found[path]["explanation"]
        assert there["files"] == explanation["files"]
        assert there["target"] == explanation["target"]
        for file in explanation["files"].values():
            name = file if isinstance(file, str) else file["path"]
            assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.fixture
def no_cluster() -> Iterator[str]:
    """The address of a program that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "no address", "127.0.0.1:99999", "silent"])
def test_a_wrong_address_is_answered_soon(address: str, no_cluster: str, tmp_path: Path, tiny_bundle: Path) -> None:
    address = no_cluster if address == "silent" else address
    options = ["--out", tmp_path / "out", "--engine", "ray", "--ray-address", address, "--formats", "parquet"]
    command = [sys.executable, "-m", "cxr_edge", "scan", tmp_path, "--bundle", tiny_bundle, *options]
    start = time.monotonic()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --ray-address {address!r}: no Ray cluster answers there; check that it runs, or leave the option out\n"
    )
    assert time.monotonic() - start < 30  # ten seconds on a machine that does nothing else
    assert not (tmp_path / "out").exists()


def test_it_says_no_more_than_the_local_engine(tiny_bundle: Path, radiographs: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    options = ["--out", tmp_path / "out", "--engine", "ray", "--workers", "1", "--formats", "parquet"]
    command = [sys.executable, "-m", "cxr_edge", "scan", radiographs, "--bundle", tiny_bundle, *options]
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()
    assert first == done.stdout.strip()
    assert second.startswith("Research use only")
    facts = [path.read_text() for path in Path("/tmp/ray").glob("session_latest/usage_stats.json")]  # noqa: S108
    assert all('"usage_stats_enabled"' not in fact or "false" in fact for fact in facts)


@pytest.mark.data
@pytest.mark.slow
def test_all_originals(data_folder: Path, tmp_path: Path) -> None:
    check(data_folder / "originals", None, tmp_path)
