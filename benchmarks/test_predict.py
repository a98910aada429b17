"""A prediction through `Classifier` beside a bare ONNX Runtime session on the same pixels, and the steps around it.

pytest benchmarks/test_predict.py --benchmark-only

The ratio is measured apart, runs alternating in one process, because the two benchmarks of a table run minutes apart.
"""

import statistics
import time

import numpy as np
import onnxruntime
import pytest

from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.sessions import usable_cores


@pytest.fixture(scope="module")
def bare(bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    return onnxruntime.InferenceSession(bundle.path("classifier.onnx"), options, providers=["CPUExecutionProvider"])


@pytest.mark.benchmark(group="predict")
def test_bare_session(benchmark, bare, image) -> None:
    benchmark(bare.run, None, {"pixels": image[None]})


@pytest.mark.benchmark(group="predict")
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_classifier(benchmark, bundle, image, precision, batch) -> None:
    classifier = Classifier(bundle, provider="cpu", precision=precision)
    benchmark(classifier.predict, np.repeat(image[None], batch, axis=0))


@pytest.mark.benchmark(group="predict")
def test_file_to_answer(benchmark, model, jpeg) -> None:
    benchmark(model.predict, jpeg)


def test_a_prediction_costs_hardly_more_than_the_bare_run(benchmark, model, bare, image, capsys) -> None:
    times = 200 if benchmark.enabled else 2  # disabled: to see that it works
    inputs = image[None]

    def seconds(call, *arguments) -> float:
        start = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - start

    def alternate() -> float:
        rounds = [
            (seconds(model.classifier.predict, inputs), seconds(bare.run, None, {"pixels": inputs}))
            for _ in range(times)
        ]
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        return ours / theirs

    ratio = benchmark.pedantic(alternate, rounds=1, warmup_rounds=1)
    with capsys.disabled():
        print(f"\nClassifier.predict / bare InferenceSession.run, batch 1, warm: {ratio:.3f} (bar 1.10)")
    assert ratio <= 1.10 or not benchmark.enabled
