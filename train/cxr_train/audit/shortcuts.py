"""Whether the score follows what says nothing about the lungs, such as the size of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from cxr_train.audit.answers import Floats
from cxr_train.audit.attributes import Attribute
from cxr_train.audit.setting import Setting
from cxr_train.metrics import Estimate


@dataclass(frozen=True)
class Shortcut:
    """One attribute of the images against their class and their score.

    Attributes:
        attribute: Its name.
        auroc: How well it alone tells the classes apart, whichever way round, 0.5 to 1.
        correlation: By class, Spearman's rank correlation with the log-odds.
    """

    attribute: str
    auroc: float
    correlation: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {**vars(self), "correlation": {name: each.to_json() for name, each in self.correlation.items()}}


def spearman(one: Floats, other: Floats) -> float:
    """Rank correlation of two values [N] (Spearman 1904), ties sharing their mean rank; NaN where one is constant."""
    first, second = rankdata(one), rankdata(other)
    if first.std() == 0 or second.std() == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def shortcuts(setting: Setting, known: tuple[Attribute, ...]) -> tuple[Shortcut, ...]:
    """Correlates the score with each attribute that varies."""
    out = []
    for attribute in known:
        if not attribute.varies:
            continue
        alone = float(roc_auc_score(setting.labels, attribute.values))
        correlation = {}
        for name, rows in setting.classes.items():
            values, scores = attribute.values[rows], setting.answers.logodds[rows]

            def measure(drawn: NDArray[np.intp], values: Floats = values, scores: Floats = scores) -> float:
                return spearman(values[drawn], scores[drawn])

            correlation[name] = setting.estimate(measure, rows)
        out.append(Shortcut(attribute.name, max(alone, 1 - alone), correlation))
    return tuple(out)
