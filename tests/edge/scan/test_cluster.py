"""The Ray engine on a Ray of this machine alone, against the local engine."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.api import load
from cxr_edge.errors import UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.parameters import Parameters
from cxr_edge.results.schema import BundleName
from cxr_edge.scan import local

ray = pytest.importorskip("ray", reason="needs the ray extra: pip install 'cxr-edge[cpu,ray]'")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = [
    pytest.mark.ray,
    # Ray's own
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def answer(engine: str, inputs: Path, bundle: Path | None, out: Path) -> Any:
    from cxr_edge.scan import cluster

    model = load(bundle, provider="cpu", threads=1)
    parameters = Parameters(
        engine=engine,
        bundle=BundleName(**model.bundle.to_json()),
        provider="cpu",
        precision="fp32",
        operating_point=model.classifier.operating_point,
        gate=model.classifier.gate is not None,
        batch_size=1,
        explain="none",
        explain_if="positive",
    )
    discovery = Discovery((inputs,), output=out)
    if engine == "local":
        return local.scan(model, discovery, parameters, out=out, workers=2)[0]
    return cluster.scan(discovery, parameters, out=out, bundle=bundle, size=(224, 224), address=None, workers=1)


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


@pytest.mark.data
@pytest.mark.slow
def test_all_originals(data_folder: Path, tmp_path: Path) -> None:
    check(data_folder / "originals", None, tmp_path)
