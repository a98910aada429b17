"""A prediction through `Classifier` beside a bare ONNX Runtime session on the same pixels, and the steps around it.

pytest benchmarks/test_predict.py --benchmark-only

The ratio is measured apart, runs alternating in one process, because the two benchmarks of a table run minutes apart.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cxr_edge.bundle import Bundle
from cxr_edge.classifier import Classifier
from cxr_edge.images import read_radiograph
from cxr_edge.preprocess import to_input
from cxr_edge.sessions import usable_cores

RADIOGRAPH = Path(__file__).parents[1] / "tests" / "data" / "radiographs" / "NORMAL2-IM-0588-0001.jpeg"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(Bundle.open(), provider="cpu")


@pytest.fixture(scope="module")
def bare(classifier: Classifier) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    file = classifier.bundle.path("classifier.onnx")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return to_input(read_radiograph(RADIOGRAPH))[None]


def test_bare_session(benchmark, bare, inputs) -> None:
    benchmark(bare.run, None, {"pixels": inputs})


def test_classifier(benchmark, classifier, inputs) -> None:
    benchmark(classifier.predict, inputs)


def test_read_a_jpeg(benchmark) -> None:
    benchmark(read_radiograph, RADIOGRAPH)


def test_to_input(benchmark) -> None:
    benchmark(to_input, read_radiograph(RADIOGRAPH))


def test_open_the_bundle(benchmark) -> None:
    benchmark.pedantic(Bundle.open, rounds=10)


def test_a_prediction_costs_hardly_more_than_the_bare_run(benchmark, classifier, bare, inputs, capsys) -> None:
    def seconds(call, *arguments) -> float:
        start = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - start

    def alternate() -> float:
        rounds = [
            (seconds(classifier.predict, inputs), seconds(bare.run, None, {"pixels": inputs})) for _ in range(200)
        ]
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        return ours / theirs

    ratio = benchmark.pedantic(alternate, rounds=1, warmup_rounds=1)
    with capsys.disabled():
        print(f"\nClassifier.predict / bare InferenceSession.run, batch 1, warm: {ratio:.3f} (bar 1.10)")
    assert ratio <= 1.10
