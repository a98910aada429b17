"""The engine for several machines: the same functions as stages of Ray Data, Parquet files as output.

Paths are taken in slices, so that neither the list of them nor their records ever lie in one memory as a whole. A slice
is written under a hidden name and renamed when it is complete: what a crash leaves half done is done again.
"""

import logging
import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import load
from cxr_edge.errors import BundleError, InputError, UsageError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.discovery import Discovery
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.report.rows import flatten
from cxr_edge.report.tables import arrow_schema
from cxr_edge.results.journal import Index, State
from cxr_edge.results.outcomes import Failure
from cxr_edge.results.record import to_line
from cxr_edge.results.slices import SLICES, read_slices
from cxr_edge.scan.folder import hold
from cxr_edge.scan.parameters import Parameters
from cxr_edge.scan.tally import Tally
from cxr_edge.scan.worker import decode_named, make_record, read

_SLICE = 100_000
_BATCH = 16  # also the rows of a block that waits between the stages: 3 MB of pixels
Columns = dict[str, NDArray[Any]]


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
            path, sha256 = Path(os.fsdecode(name)), None
            try:
                data, sha256 = read(path)
                radiograph = decode_named(data, path)
                pixels[number] = to_input(radiograph, height=self.height, width=self.width)
                facts[number] = pickle.dumps((sha256, radiograph.source, radiograph.warnings))
            except InputError as error:
                facts[number] = pickle.dumps(make_record(Failure(path, error), sha256, self.parameters))
        return {"pixels": pixels, "facts": facts}


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
            provider=parameters.provider,
            threads=1,
            precision=parameters.precision,
            operating_point=parameters.operating_point,
            test_time_augmentation=parameters.test_time_augmentation,
            gate=parameters.gate,
        )
        if self._model.bundle.to_json() != parameters.bundle:
            raise BundleError(f"{self._model.bundle.folder}: another bundle than where the scan was started")

    def __call__(self, batch: Columns) -> Any:
        """Take ``pixels`` and ``facts``; give an Arrow table of rows with the whole record as JSON in ``record``."""
        import pyarrow as pa

        facts = [pickle.loads(each) for each in batch["facts"]]  # noqa: S301  # written by the stage before
        good = [number for number, each in enumerate(facts) if isinstance(each, tuple)]
        # An input is a radiograph already squashed: preprocessing leaves it as it is.
        inputs = [Radiograph(batch["pixels"][number], 255.0, *facts[number][1:]) for number in good]
        answers = [self._model.predict(each) for each in inputs]
        for number, answer in zip(good, answers, strict=True):
            facts[number] = make_record(answer, facts[number][0], self._parameters)
        schema = arrow_schema().append(pa.field("record", pa.string()))
        return pa.Table.from_pylist(
            [{**flatten(each), "record": to_line(each.to_json())} for each in facts], schema=schema
        )


def scan(
    discovery: Discovery,
    parameters: Parameters,
    *,
    out: Path,
    bundle: Path | None,
    size: tuple[int, int],
    address: str | None,
    workers: int | None,
) -> Tally:
    """Answer everything that is found and not yet recorded, on a Ray cluster.

    Args:
        discovery: What to look for; every machine must see the files under the same paths.
        parameters: What is asked; without explanations and pictures.
        out: The output folder, seen by every machine alike.
        bundle: Folder of the bundle on every machine; None takes the installed one.
        size: Height and width of an input.
        address: Of a running cluster; None starts Ray on this machine alone.
        workers: Networks loaded at once; None takes three fifths of the cores and leaves the others to decoding.

    Returns:
        The counts of this run, with what it found recorded.

    Raises:
        UsageError: Ray is not installed, or the output folder is in use or holds records of other parameters.
        OutputError: The output folder cannot be written.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: run pip install 'cxr-edge[cpu,ray]'") from error

    tally, index, records = Tally(), Index(), out / SLICES
    with hold(out, parameters):
        shutil.rmtree(records / ".unfinished", ignore_errors=True)
        for record in read_slices(records):
            index.add(str(record.path), State.of(record), 0)
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, include_dashboard=None)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            networks = workers or max(1, int(ray.cluster_resources()["CPU"]) * 3 // 5)
            new = _new(discovery, index, tally)
            while paths := list(islice(new, _SLICE)):
                unfinished = records / ".unfinished"
                (
                    ray.data.from_items(
                        [{"path": path} for path in paths], override_num_blocks=-(-len(paths) // _BATCH)
                    )
                    .map_batches(Decode(parameters, *size), batch_size=_BATCH)
                    .map_batches(
                        Predict,
                        fn_constructor_args=(parameters, bundle),
                        batch_size=_BATCH,
                        concurrency=networks,
                        num_gpus=1 if parameters.provider == "cuda" else None,
                    )
                    .write_parquet(str(unfinished))
                )
                number = sum(1 for _ in records.glob("slice-*"))
                unfinished.rename(records / f"slice-{number:06}")
                for record in read_slices(records / f"slice-{number:06}"):
                    tally.count(State.of(record), known=False)
                sys.stderr.write(f"{tally}\n")
        finally:
            ray.shutdown()
            index.close()
    return tally


def _new(discovery: Discovery, index: Index, tally: Tally) -> Iterator[bytes]:
    """Give the paths without a record; those with one are counted."""
    for found in discovery.find():
        path = Failure.of(found).path if isinstance(found, InputError) else found
        state = index.state(str(path))
        if state is None:
            yield os.fsencode(path)
        else:
            tally.count(state, known=True)
