"""The engine for several machines: the same functions as stages of Ray Data, Parquet files as output.

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
from typing import Any

from cxr_edge.errors import InputError, UsageError
from cxr_edge.reading.discovery import Discovery
from cxr_edge.results.index import Index, Parameters, State
from cxr_edge.results.journal import SLICES, BadLine, keep_bad_lines, read_slices
from cxr_edge.results.outcomes import Failure
from cxr_edge.results.output import PRIVATE, make_folder_below, unwritable
from cxr_edge.scan.folder import locked_folder
from cxr_edge.scan.local import Decode, Predict
from cxr_edge.scan.progress import Tally
from cxr_edge.text import printable

_SLICE = 100_000
_UNFINISHED = ".unfinished"
_PATIENCE = 3.0  # seconds for a machine to answer
_BATCH = 16  # also the rows of a block that waits between the stages: 3 MB of pixels


def scan_on_cluster(
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
            raise unwritable(out, error) from error
        _start(ray, address)
        try:
            networks = workers or max(1, int(ray.cluster_resources()["CPU"]) * 3 // 5)
            search = discovery.find()
            new = _new(search, index, tally)
            while paths := list(islice(new, _SLICE)):
                _write_slice(ray, records, paths, parameters, bundle=bundle, size=size, networks=networks)
                if _count(records / _UNFINISHED, index, tally):
                    number = sum(1 for _ in records.glob("slice-*"))
                    (records / _UNFINISHED).rename(records / f"slice-{number:06}")
                else:
                    shutil.rmtree(records / _UNFINISHED)
                sys.stderr.write(f"{tally}\n")
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
        compute=ray.data.ActorPoolStrategy(size=networks),
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


def _new(search: Iterator[Path | InputError], index: Index, tally: Tally) -> Iterator[bytes]:
    """Give the paths without an answer or a refusal; those with one are counted. A failure is tried again."""
    for found in search:
        path = Failure.of(found).path if isinstance(found, InputError) else found
        state = index.state(str(path))
        if state is None or state.failed:
            yield os.fsencode(path)
        else:
            tally.count(state, before=index.count(str(path), state), known=True)
