import math
from typing import Any

import pytest

import cxr_edge
from cxr_edge.errors import UsageError
from cxr_edge.explanation import LimeOptions


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "slow"},
        {"mode": None},
        {"segments": "hexagons"},
        {"score": "entropy"},
        {"superpixels": 0},
        {"superpixels": -3},
        {"superpixels": 785},
        {"superpixels": 30.0},
        {"superpixels": True},
        {"superpixels": None},
        {"samples": 1},
        {"samples": -10},
        {"samples": 100_001},
        {"samples": 64.5},
        {"samples": "64"},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 1.5},
        {"stability": 0},
        {"stability": 1},
        {"stability": -0.5},
        {"stability": math.nan},
        {"stability": math.inf},
        {"stability": "0.9"},
        {"budget": 0},
        {"budget": -1.0},
        {"budget": math.nan},
        {"budget": math.inf},
        {"budget": "soon"},
        {"mode": "reference", "stability": 0.9},
        {"mode": "reference", "budget": 1.0},
        {"mode": "fast", "score": "probability"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_when_they_are_stated(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LimeOptions(**options)


def test_the_message_says_what_was_given_and_what_is_expected() -> None:
    with pytest.raises(UsageError, match=r"^seed -1; expected a whole number from 0 to 4294967295$"):
        LimeOptions(seed=-1)
    with pytest.raises(UsageError, match=r"^segments 'hex'; expected one of slic, grid, quickshift$"):
        LimeOptions(segments="hex")


@pytest.mark.parametrize(
    "options",
    [
        {"superpixels": 1},
        {"superpixels": 784},
        {"samples": 2, "seed": 0},
        {"samples": 100_000, "seed": 2**32 - 1},
        {"stability": 1e-9, "budget": 1e-9},
        {"stability": 0.999999, "budget": 10**9},
        {"mode": "reference", "score": "probability"},
        {"mode": "reference", "score": "logodds"},
    ],
    ids=str,
)
def test_the_ends_of_every_range_are_allowed(options: dict[str, Any]) -> None:
    assert LimeOptions(**options) == cxr_edge.LimeOptions(**options)


def test_quickshift_without_its_package_is_refused_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.explanation.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="scikit-image"):
        LimeOptions(segments="quickshift")
