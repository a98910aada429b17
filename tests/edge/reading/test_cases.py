"""The inputs that earlier releases read wrongly, where ../shared is; `expected.json` says what is right.

The other modules beside this one hold the same kinds with files of their own.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.errors import InputError
from cxr_edge.prediction.gate import scope_warnings
from cxr_edge.reading.decode import read_radiograph

CASES = Path(os.environ.get("CXR_EDGE_CASES", Path(__file__).parents[4] / "shared" / "cases"))


def expectations():
    path = CASES / "expected.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


@pytest.fixture(scope="module")
def cases():
    if not (CASES / "expected.json").is_file():
        pytest.skip(f"no cases in {CASES}; set CXR_EDGE_CASES to their folder")
    return CASES


def answer(path):
    """The radiograph with all that is said about it, or the error."""
    try:
        radiograph = read_radiograph(path)
    except InputError as error:
        return error, f"{error}"
    said = (*radiograph.warnings, *radiograph.source.steps, *scope_warnings(radiograph.source, None))
    return radiograph, "\n".join(said)


def difference(radiograph, path):
    expected = np.load(path)
    grey = radiograph.pixels / radiograph.maximum
    return float(np.abs(grey - expected).mean()) if grey.shape == expected.shape else np.inf


def names(text, words):
    return not words or any(word in text for word in words)


@pytest.mark.data
@pytest.mark.parametrize("name", [*expectations()] or ["none"])
def test_every_case_is_read_rightly_or_refused_with_the_true_reason(cases, name):
    case = expectations()[name]
    started = time.perf_counter()
    found, text = answer(cases / name)
    spent = time.perf_counter() - started
    refused = isinstance(found, InputError)
    expect, words = case["expect"], case.get("words", [])
    if expect == "grey":
        if refused:
            allowed = case.get("or_error") and names(text, case["or_error"])
            assert allowed or found.kind == case.get("or_kind"), text
        else:
            assert difference(found, cases / f"{Path(name).stem}.npy") <= case["tol"], text
    elif expect == "error":
        assert refused, text
        assert names(text, words), text
        assert not any(word in text for word in case.get("never", [])), text
        assert found.kind == case.get("kind", found.kind)
        assert spent <= case.get("seconds", 60)
    elif expect == "warn":
        assert not refused, text
        assert names(text, words), text
    elif expect == "upright_or_warn":
        assert not refused, text
        assert names(text, words), text
        assert difference(found, cases / case["reference"]) <= 0.012 or found.warnings
    else:
        assert expect == "error_or_warn"
        assert names(text, words), text
