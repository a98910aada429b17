"""The stages of a scan on a cluster: what runs on its machines."""

import os
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cxr_edge.api import load
from cxr_edge.errors import BundleError
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import decode
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.results.columns import arrow_schema, flatten
from cxr_edge.results.outcomes import Failure, attempt
from cxr_edge.results.parameters import Parameters
from cxr_edge.results.record import to_line, to_record
from cxr_edge.results.schema import Record
from cxr_edge.runtime.sessions import Provider
from cxr_edge.scan.pipeline import Content, failed_record, read

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
