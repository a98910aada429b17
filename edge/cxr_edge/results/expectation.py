"""What a bundle leads one to expect of its answers, and whether many answers are as expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from cxr_edge.bundle.manifest import Manifest
from cxr_edge.results.schema import Count, Finite, Share

FEWEST = 50
"""Radiographs below which nothing is said about their distribution."""
_CHANCE = 0.01  # of a warning where nothing has changed
_STEPS = 101  # shares of the positive label that are tried


class PointRecord(Struct, frozen=True, kw_only=True):
    """What the bundle states about the operating point: what to expect of its answers.

    Attributes:
        criterion: The rule that chose the threshold.
        chosen_on: What it was chosen on.
        recall: Share of the positives there that get the positive label.
        specificity: Share of the others there that do not.
        tested: How many radiographs the network was tested on that it had not seen; None where no test is stated.
        test_recall: The recall on these, with the ends of its 95 % interval.
        test_specificity: The specificity on these, likewise.
        logodds: Quantiles of the log-odds of radiographs that it did not learn from, by label: the first is the least,
            the last the largest, all are equally far apart in rank. Empty where the bundle states none.
        scope_scores: Quantiles of the scope's score of such radiographs, likewise.
        measured: How many radiographs these are of.
    """

    criterion: str
    chosen_on: str
    recall: Share
    specificity: Share
    tested: Count | None = None
    test_recall: tuple[Share, Share, Share] | None = None
    test_specificity: tuple[Share, Share, Share] | None = None
    logodds: dict[str, list[Finite]] = {}
    scope_scores: list[Finite] = []
    measured: Count = 0

    @classmethod
    def of(cls, manifest: Manifest, name: str) -> PointRecord:
        """Read it from a manifest; its account of the test is free text, of which only what is whole is taken."""
        point = manifest.operating_points.points[name]
        stated: dict[str, Any] = {key: getattr(point, key) for key in (*_MEASURED, "criterion", "chosen_on")}
        metrics, scope = manifest.training.get("metrics", {}), manifest.gate and manifest.gate.scope
        with suppress(KeyError, TypeError, ValueError):
            validation = metrics["validation"]
            seen = {"logodds": validation["logodds"], "measured": sum(validation["images"].values())}
            if scope:
                seen["scope_scores"] = scope.measured["scores"]
            stated |= msgspec.to_builtins(msgspec.convert({**stated, **seen}, cls))
        with suppress(KeyError, TypeError, ValueError):
            test = metrics["test"]
            if test["operating_point"] == name:
                shares = {key: [test["metrics"][key][end] for end in ("value", "low", "high")] for key in _MEASURED}
                tested = {f"test_{key}": value for key, value in shares.items()}
                return msgspec.convert({**stated, "tested": sum(test["images"].values()), **tested}, cls)
        return msgspec.convert(stated, cls)


_MEASURED = ("recall", "specificity")


def drift(point: PointRecord, logodds: Sequence[float], scope_scores: Sequence[float]) -> list[str]:
    """Say how far radiographs are distributed otherwise than those that the bundle was measured on.

    Both are compared by their largest difference in cumulative share (Kolmogorov 1933), against what chance leaves
    within (Dvoretzky-Kiefer-Wolfowitz with Massart's constant, 1990). The log-odds are compared with the mixture of
    both labels that fits best: how many of the patients are ill is no drift.

    Args:
        point: What to expect.
        logodds: Of the answers, uncalibrated.
        scope_scores: Of the answers, and of what was refused as another hospital's.

    Returns:
        A sentence for each distribution that differs by more than chance; none for fewer than `FEWEST` radiographs.
    """
    sentences = []
    if len(logodds) >= FEWEST and len(point.logodds) == 2:
        values = np.sort(np.asarray(logodds, np.float64))
        one, other = (_cumulative(quantiles, values) for quantiles in point.logodds.values())
        shares = np.linspace(0, 1, _STEPS)[:, None]
        found = min(_largest_difference(mixed) for mixed in shares * one + (1 - shares) * other)
        sentences += _sentence("The answers", found, len(values), point.measured)
    if len(scope_scores) >= FEWEST and point.scope_scores:
        values = np.sort(np.asarray(scope_scores, np.float64))
        found = _largest_difference(_cumulative(point.scope_scores, values))
        sentences += _sentence("The radiographs' origins (scope scores)", found, len(values), point.measured)
    return sentences


def _sentence(what: str, found: float, here: int, there: int) -> list[str]:
    chance = sum(math.sqrt(math.log(2 / _CHANCE) / 2 / max(count, 1)) for count in (here, there))
    if found <= chance:
        return []
    sentence = (
        f"{what} are distributed otherwise than where the bundle was measured: {found:.0%} of {here} lie elsewhere,"
        f" up to {chance:.0%} may be chance. Test it on radiographs of yours whose findings are known: cxr-train site."
    )
    return [sentence]


def _cumulative(quantiles: Sequence[float], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of a distribution that lies at or below each value, float64 of the same shape."""
    return np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)), left=0, right=1)


def _largest_difference(expected: NDArray[np.float64]) -> float:
    """Between an expected cumulative share and the observed one, both at the sorted observations."""
    ranks = np.arange(len(expected) + 1) / len(expected)
    return float(max((expected - ranks[:-1]).max(), (ranks[1:] - expected).max()))
