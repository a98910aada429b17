"""From an explanation to the pictures of it, and those to PNG.

pytest benchmarks/test_drawing.py --benchmark-only
"""

import pytest

from cxr_edge import LimeOptions
from cxr_edge.bench.cases import phantom_jpeg
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.rendering import to_png

pytestmark = pytest.mark.benchmark(group="draw")


@pytest.fixture(scope="module")
def explanation(model, jpeg):
    return model.explain(jpeg, target="PNEUMONIA", lime=LimeOptions(samples=64))


def test_figure(benchmark, explanation) -> None:
    benchmark(lambda: next(draw(explanation)))


def test_every_picture(benchmark, explanation) -> None:
    benchmark.pedantic(lambda: list(draw(explanation)), rounds=10, warmup_rounds=1)


def test_figure_to_png(benchmark, explanation) -> None:
    _, picture = next(draw(explanation))
    benchmark(to_png, picture)


def test_record_of_an_explanation(benchmark, explanation) -> None:
    benchmark(explanation.to_json)


def test_make_the_synthetic_radiograph(benchmark) -> None:
    benchmark.pedantic(phantom_jpeg, rounds=5)
