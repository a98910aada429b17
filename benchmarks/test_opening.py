"""What is paid once: hashing the bundle, starting sessions, both together.

pytest benchmarks/test_opening.py --benchmark-only
"""

import pytest

from cxr_edge.api import load
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.runtime.sessions import open_session

pytestmark = pytest.mark.benchmark(group="open")


def test_hash_the_bundle(benchmark) -> None:
    benchmark.pedantic(Bundle.open, rounds=20, warmup_rounds=1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_start_a_session(benchmark, bundle, precision) -> None:
    network = bundle.model(bundle.manifest.precisions[precision].file)
    benchmark.pedantic(open_session, (network,), {"provider": "cpu"}, rounds=20, warmup_rounds=1)


def test_start_the_gradcam_head(benchmark, bundle) -> None:
    benchmark.pedantic(GradCam, (bundle,), rounds=20, warmup_rounds=1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_from_nothing_to_a_model(benchmark, precision) -> None:
    benchmark.pedantic(load, kwargs={"provider": "cpu", "precision": precision}, rounds=20, warmup_rounds=1)
