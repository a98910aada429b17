"""The engine for several machines: the same functions as stages of Ray Data, Parquet files as output.

Paths are taken in slices, so that neither the list of them nor their records ever lie in one memory as a whole. A slice
is written under a hidden name and renamed when it is complete: what a crash leaves half done is done again.
"""

import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import load
from cxr_edge.errors import BundleError, InputError, OutputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import decode
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.results.columns import arrow_schema, flatten
from cxr_edge.results.index import Index, State
from cxr_edge.results.journal import BadLine, keep_bad_lines
from cxr_edge.results.outcomes import Failure, attempt
from cxr_edge.results.output import PRIVATE, make_folder_below
from cxr_edge.results.parameters import Parameters
from cxr_edge.results.record import to_line, to_record
from cxr_edge.results.schema import Record
from cxr_edge.results.slices import SLICES, read_slices
from cxr_edge.runtime.sessions import Provider
from cxr_edge.scan.folder import locked_folder
from cxr_edge.scan.pipeline import Content, failed_record, read
from cxr_edge.scan.progress import Tally
from cxr_edge.text import printable

_SLICE = 100_000
_UNFINISHED = ".unfinished"
_PATIENCE = 3.0  # seconds for a machine to answer
_BATCH = 16  # also the rows of a block that waits between the stages: 3 MB of pixels
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Facts:
    """What the second stage has to know beside the pixels.

    Attributes:
        sha256: The hash of the content.
        source: Where the pixels came from.
        warnings: What a reader of the answer should know.
    """

    sha256: str
    source: Source
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Decode:
    """First stage: paths → inputs of the network, or what is wrong with them.

    Attributes:
        parameters: What is asked.
        height: Rows of an input.
        width: Columns of an input.
    """

    parameters: Parameters
    height: int
    width: int

    def __call__(self, batch: Columns) -> Columns:
        """Take paths as bytes; give ``pixels`` float32 [N, height, width] and pickled ``facts``."""
        pixels = np.zeros((len(batch["path"]), self.height, self.width), np.float32)
        facts = np.empty(len(pixels), object)
        for number, name in enumerate(batch["path"]):
            path = Path(os.fsdecode(name))
            content = attempt(path, partial(read, path))
            if isinstance(content, Failure):
                facts[number] = pickle.dumps(failed_record(content, None, self.parameters))
                continue
            done = attempt(path, partial(self._decode, content, pixels[number]))
            facts[number] = pickle.dumps(
                failed_record(done, content.sha256, self.parameters) if isinstance(done, Failure) else done
            )
        return {"pixels": pixels, "facts": facts}

    def _decode(self, content: Content, pixels: NDArray[np.float32]) -> Facts:
        radiograph = decode(content.data, content.path)
        pixels[:] = to_input(radiograph, height=self.height, width=self.width)
        return Facts(content.sha256, radiograph.source, radiograph.warnings)


class Predict:
    """Second stage: inputs → records; keeps a network loaded for all its batches.

    Args:
        parameters: What is asked.
        bundle: Folder of the bundle on the machine that runs this; None takes the installed one.

    Raises:
        BundleError: That machine has another bundle.
    """

    def __init__(self, parameters: Parameters, bundle: Path | None) -> None:
        self._parameters = parameters
        self._model = load(
            bundle,
            provider=cast("Provider", parameters.provider),
            threads=1,
            precision=parameters.precision,
            operating_point=parameters.operating_point,
            test_time_augmentation=parameters.test_time_augmentation,
            gate=parameters.gate,
        )
        if self._model.bundle.digest != parameters.bundle.sha256:
            raise BundleError(f"{self._model.bundle.folder}: another bundle than where the scan was started")

    def __call__(self, batch: Columns) -> Any:
        """Take ``pixels`` and ``facts``; give an Arrow table of rows with the whole record as JSON in ``record``."""
        import pyarrow as pa

        records = []
        for pixels, data in zip(batch["pixels"], batch["facts"], strict=True):
            facts = pickle.loads(data)  # noqa: S301  # written by the stage before
            records.append(self._answer(pixels, facts) if isinstance(facts, Facts) else facts)
        schema = arrow_schema().append(pa.field("record", pa.string()))
        rows = [{**flatten(each), "record": to_line(each.to_json())} for each in records]
        return pa.Table.from_pylist(rows, schema=schema)

    def _answer(self, pixels: NDArray[np.float32], facts: Facts) -> Record:
        # An input is a radiograph already squashed: preprocessing leaves it as it is.
        radiograph = Radiograph(pixels, 255.0, facts.source, facts.warnings)
        path, digest = facts.source.path or Path(), self._parameters.digest

        def work() -> Record:
            answer = self._model.predict(radiograph)
            return to_record(answer, sha256=facts.sha256, parameters=digest, time=datetime.now(UTC))

        done = attempt(path, work)
        return failed_record(done, facts.sha256, self._parameters) if isinstance(done, Failure) else done


def scan(
    discovery: Discovery,
    parameters: Parameters,
    *,
    out: Path,
    bundle: Path | None,
    size: tuple[int, int],
    address: str | None,
    workers: int | None,
    mode: int = PRIVATE,
    skip_bad: bool = False,
) -> Tally:
    """Answer everything that is found and not yet answered, on a Ray cluster.

    Args:
        discovery: What to look for; every machine must see the files under the same paths.
        parameters: What is asked; without explanations and pictures.
        out: The output folder, seen by every machine alike.
        bundle: Folder of the bundle on every machine; None takes the installed one.
        size: Height and width of an input.
        address: Of a running cluster; None starts Ray on this machine alone.
        workers: Networks loaded at once; None takes three fifths of the cores and leaves the others to decoding.
        mode: Permissions of the output folder, if it is made.
        skip_bad: Whether rows that are no records are left out.

    Returns:
        The counts of this run, with what it found recorded.

    Raises:
        UsageError: Ray is not installed, or nobody answers at the address; or the output folder is in use or holds
            records of other parameters.
        OutputError: The output folder cannot be written.
    """
    ray = _import_ray()
    if address is not None:
        _check_address(address)
    tally, index, records = Tally(), Index(), out / SLICES
    with locked_folder(out, parameters, mode=mode, pictures=False) as stale:
        if stale:
            sys.stderr.write(printable(f"An earlier scan ended abruptly ({stale}); going on after it.") + "\n")
        try:
            make_folder_below(out, SLICES)
            shutil.rmtree(records / _UNFINISHED, ignore_errors=True)
            bad: list[BadLine] = []
            for record in read_slices(records, bad=bad.append if skip_bad else None):
                index.add(str(record.path), State.of(record), 0)
            if bad:
                keep_bad_lines(out, bad)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror}); check its permissions") from error
        _start(ray, address)
        try:
            networks = workers or max(1, int(ray.cluster_resources()["CPU"]) * 3 // 5)
            new = _new(discovery, index, tally)
            while paths := list(islice(new, _SLICE)):
                _write_slice(ray, records, paths, parameters, bundle=bundle, size=size, networks=networks)
                if _count(records / _UNFINISHED, index, tally):
                    number = sum(1 for _ in records.glob("slice-*"))
                    (records / _UNFINISHED).rename(records / f"slice-{number:06}")
                else:
                    shutil.rmtree(records / _UNFINISHED)
                sys.stderr.write(f"{tally}\n")
        finally:
            ray.shutdown()
            index.close()
    return tally


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would tell its makers about every start
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: run pip install 'cxr-edge[cpu,ray]'") from error
    return ray


def _check_address(address: str) -> None:
    """Check that a cluster answers: Ray itself waits for minutes, and then ends the process.

    Raises:
        UsageError: Nobody answers, or not as a cluster does.
    """
    problem = f"--ray-address {address!r}: no Ray cluster answers there; check that it runs, or leave the option out"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
                pass
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(problem) from error
    probe = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    quick = {"RAY_gcs_rpc_server_connect_timeout_s": "2", "RAY_gcs_rpc_server_reconnect_timeout_s": "2"}
    command = [sys.executable, "-c", probe, address]
    try:
        subprocess.run(command, env={**os.environ, **quick}, capture_output=True, timeout=30, check=True)  # noqa: S603
    except subprocess.SubprocessError as error:
        raise UsageError(problem) from error


def _start(ray: Any, address: str | None) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, include_dashboard=None)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False


def _write_slice(
    ray: Any,
    records: Path,
    paths: list[bytes],
    parameters: Parameters,
    *,
    bundle: Path | None,
    size: tuple[int, int],
    networks: int,
) -> None:
    inputs = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=-(-len(paths) // _BATCH))
    decoded = inputs.map_batches(Decode(parameters, *size), batch_size=_BATCH)
    answered = decoded.map_batches(
        Predict,
        fn_constructor_args=(parameters, bundle),
        batch_size=_BATCH,
        concurrency=networks,
        num_gpus=1 if parameters.provider == "cuda" else None,
    )
    answered.write_parquet(str(records / _UNFINISHED))


def _count(slice_: Path, index: Index, tally: Tally) -> bool:
    """Count the records of a slice; give whether one of them says what was not recorded before."""
    before = tally.recorded
    for record in read_slices(slice_):
        path, state = str(record.path), State.of(record)
        tally.count(state, before=index.count(path, state), known=index.state(path) == state)
    return tally.recorded > before


def _new(discovery: Discovery, index: Index, tally: Tally) -> Iterator[bytes]:
    """Give the paths without an answer or a refusal; those with one are counted. A failure is tried again."""
    for found in discovery.find():
        path = Failure.of(found).path if isinstance(found, InputError) else found
        state = index.state(str(path))
        if state is None or state.failed:
            yield os.fsencode(path)
        else:
            tally.count(state, before=index.count(str(path), state), known=True)
