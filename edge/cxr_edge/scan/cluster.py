"""The engine for several machines: the same work as on one, spread by Ray Data, with Parquet files as output.

One stage does all that is done for a file: to hand decoded pixels from one process to another costs more than it saves,
and a figure needs them at full size.

Paths are taken in slices, so that neither the list of them nor their records ever lie in one memory as a whole. A slice
is written under a hidden name and renamed when it is complete: what a crash leaves half done is done again.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2

from cxr_edge.api import load
from cxr_edge.errors import BundleError, InputError, UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.index import Index, Parameters, State
from cxr_edge.results.journal import SLICES, BadLine, keep_bad_lines, read_slices
from cxr_edge.results.outcomes import Failure
from cxr_edge.results.output import PRIVATE, make_folder_below, unwritable
from cxr_edge.results.record import arrow_schema, flatten, to_line
from cxr_edge.runtime.sessions import Provider
from cxr_edge.scan.folder import locked_folder
from cxr_edge.scan.pipeline import Worker
from cxr_edge.scan.progress import Tally
from cxr_edge.text import printable, say

_SLICE = 100_000
_UNFINISHED = ".unfinished"
_PATIENCE = 3.0  # seconds for a machine to answer
_BATCH = 16  # paths that are handed over together


def scan_on_cluster(
    discovery: Discovery,
    parameters: Parameters,
    *,
    out: Path,
    bundle: Path | None,
    address: str | None,
    workers: int | None,
    pictures: bool = False,
    mode: int = PRIVATE,
    skip_bad: bool = False,
) -> Tally:
    """Answer everything that is found and not yet answered, on a Ray cluster.

    Args:
        discovery: What to look for; every machine must see the files under the same paths.
        parameters: What is asked.
        out: The output folder, seen by every machine alike.
        bundle: Folder of the bundle on every machine; None takes the installed one.
        address: Of a running cluster; None starts Ray on this machine alone.
        workers: Networks loaded at once, each on one core; None takes as many as the cluster has cores.
        pictures: Whether thumbnails, heat maps and figures are written for the report.
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
    with locked_folder(out, parameters, mode=mode, pictures=pictures) as stale:
        if stale:
            say(printable(f"An earlier scan ended abruptly ({stale}); going on after it."))
        try:
            make_folder_below(out, SLICES)
            shutil.rmtree(records / _UNFINISHED, ignore_errors=True)
            bad: list[BadLine] = []
            for record in read_slices(records, bad=bad.append if skip_bad else None):
                index.add(str(record.path), State.of(record), 0)
            if bad:
                keep_bad_lines(out, bad)
        except OSError as error:
            raise unwritable(out, error) from error
        _start(ray, address)
        try:
            networks = workers or max(1, int(ray.cluster_resources()["CPU"]))
            worker = (parameters, bundle, out, pictures)
            search = discovery.find()
            new = _new(search, index, tally)
            while paths := list(islice(new, _SLICE)):
                _write_slice(ray, records, paths, worker, gpu=parameters.provider == "cuda", networks=networks)
                if _count(records / _UNFINISHED, index, tally):
                    number = sum(1 for _ in records.glob("slice-*"))
                    (records / _UNFINISHED).rename(records / f"slice-{number:06}")
                else:
                    shutil.rmtree(records / _UNFINISHED)
                say(str(tally))
            tally.skipped = search.skipped
        finally:
            ray.shutdown()
            index.close()
    return tally


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", cure="run pip install 'cxr-edge[cpu,ray]'") from error
    return ray


def _check_address(address: str) -> None:
    """Check that a cluster answers: Ray itself waits for minutes, and then ends the process.

    Raises:
        UsageError: Nobody answers, or not as a cluster does.
    """
    nobody = UsageError(
        f"--ray-address {address!r}: no Ray cluster answers there",
        cure="check that it runs, or leave the option out",
    )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
                pass
        except (OSError, ValueError, OverflowError) as error:
            raise nobody from error
    probe = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    quick = {"RAY_gcs_rpc_server_connect_timeout_s": "2", "RAY_gcs_rpc_server_reconnect_timeout_s": "2"}
    command = [sys.executable, "-c", probe, address]
    try:
        subprocess.run(command, env={**os.environ, **quick}, capture_output=True, timeout=30, check=True)  # noqa: S603
    except subprocess.SubprocessError as error:
        raise nobody from error


def _start(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with _native_messages_dropped():
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, include_dashboard=None)
    ray.data.DataContext.get_current().enable_progress_bars = False  # imports what sets the levels of its loggers
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@contextmanager
def _native_messages_dropped() -> Iterator[None]:
    """Drop what native code writes to standard error: Ray reports there that its messages were switched off."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class ClusterWorker:
    """Answers files in a process of the cluster; keeps a network loaded for all its batches.

    Args:
        parameters: What is asked.
        bundle: Folder of the bundle on the machine that runs this; None takes the installed one.
        out: The output folder, for pictures.
        pictures: Whether they are written.

    Raises:
        BundleError: That machine has another bundle.
    """

    def __init__(self, parameters: Parameters, bundle: Path | None, out: Path, pictures: bool) -> None:
        cv2.setNumThreads(1)  # every worker has a core of its own
        model = load(
            bundle,
            provider=cast("Provider", parameters.provider),
            threads=1,
            precision=parameters.precision,
            operating_point=parameters.operating_point,
            unsure=parameters.unsure,
            prevalence=parameters.prevalence,
            test_time_augmentation=parameters.test_time_augmentation,
            gate=parameters.gate,
            exact_labels=parameters.exact_labels,
        )
        if model.bundle.digest != parameters.bundle.sha256:
            raise BundleError(f"{model.bundle.folder}: another bundle than where the scan was started")
        self._worker = Worker(model, parameters, None, out, pictures=pictures)

    def __call__(self, batch: dict[str, Any]) -> Any:
        """Take paths as bytes in ``path``; give an Arrow table of rows with the whole record as JSON in ``record``."""
        import pyarrow as pa

        done = self._worker.work([Path(os.fsdecode(name)) for name in batch["path"]])
        rows = [{**flatten(each.record), "record": to_line(each.record.to_json())} for each in done if each.record]
        return pa.Table.from_pylist(rows, schema=arrow_schema().append(pa.field("record", pa.string())))


def _write_slice(ray: Any, records: Path, paths: list[bytes], worker: Any, *, gpu: bool, networks: int) -> None:
    inputs = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=-(-len(paths) // _BATCH))
    answered = inputs.map_batches(
        ClusterWorker,
        fn_constructor_args=worker,
        batch_size=_BATCH,
        compute=ray.data.ActorPoolStrategy(size=networks),
        num_cpus=1,
        num_gpus=1 if gpu else None,
    )
    answered.write_parquet(str(records / _UNFINISHED), ray_remote_args={"num_cpus": 0})  # every core has a worker


def _count(slice_: Path, index: Index, tally: Tally) -> bool:
    """Count the records of a slice; give whether one of them says what was not recorded before."""
    before = tally.recorded
    for record in read_slices(slice_):
        path, state = str(record.path), State.of(record)
        tally.count(state, before=index.count(path, state), known=index.state(path) == state)
    return tally.recorded > before


def _new(search: Iterator[Path | InputError], index: Index, tally: Tally) -> Iterator[bytes]:
    """Give the paths without an answer or a refusal; those with one are counted. A failure is tried again."""
    for found in search:
        path = Failure.of(found).path if isinstance(found, InputError) else found
        state = index.state(str(path))
        if state is None or state.failed:
            yield os.fsencode(path)
        else:
            tally.count(state, before=index.count(str(path), state), known=True)
