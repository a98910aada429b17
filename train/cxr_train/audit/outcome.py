"""What a change of the images does to the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from cxr_train.audit.answers import Answers, Rows
from cxr_train.audit.setting import Setting
from cxr_train.metrics import Estimate


@dataclass(frozen=True)
class Outcome:
    """The answers to changed images against those to the same images as they were.

    Attributes:
        name: The change.
        images: How many were changed and asked about.
        flips: Share of labels that change at the shipped operating point.
        to_positive: Share of the images whose label becomes the positive one.
        to_negative: Share of the images whose label becomes the negative one.
        flips_at: Share of labels that change, by operating point.
        flips_in: Share of labels that change at the shipped operating point, by class.
        moved: Mean absolute change of the log-odds.
        auroc: Of the changed images; NaN where they are of one class.
        refused: Share of the changed images that the gate refuses; None without a gate.
    """

    name: str
    images: int
    flips: Estimate
    to_positive: float
    to_negative: float
    flips_at: dict[str, float]
    flips_in: dict[str, float]
    moved: Estimate
    auroc: float
    refused: float | None

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {**vars(self), "flips": self.flips.to_json(), "moved": self.moved.to_json()}


def compare(setting: Setting, name: str, after: Answers, rows: Rows) -> Outcome:
    """Sets the answers to changed images against the setting's own.

    Args:
        setting: What is audited.
        name: The change.
        after: The answers to M changed images.
        rows: bool [N], which images those are, M of them.
    """
    before, labels = setting.answers[rows], setting.labels[rows]
    was, became = before.probability >= setting.threshold, after.probability >= setting.threshold
    flipped = was != became
    points = setting.model.bundle.manifest.operating_points.points
    return Outcome(
        name=name,
        images=len(flipped),
        flips=setting.mean(flipped, rows),
        to_positive=_share(became & ~was),
        to_negative=_share(was & ~became),
        flips_at={
            point: _share((before.probability >= each.threshold) != (after.probability >= each.threshold))
            for point, each in points.items()
        },
        flips_in={label: _share(flipped[members[rows]]) for label, members in setting.classes.items()},
        moved=setting.mean(np.abs(after.logodds - before.logodds), rows),
        auroc=float(roc_auc_score(labels, after.probability)) if len(set(labels.tolist())) == 2 else np.nan,
        refused=None if after.refused is None else _share(after.refused),
    )


def _share(rows: Rows) -> float:
    return float(rows.mean()) if len(rows) else np.nan
