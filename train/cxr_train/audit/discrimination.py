"""How well the classes are told apart: at every operating point, and group by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from cxr_train.audit.answers import Rows
from cxr_train.audit.attributes import SHARPNESS, SIZE, Attribute
from cxr_train.audit.setting import Setting
from cxr_train.metrics import Estimate, bootstrapped, confusion

_CURVE_POINTS = 200


@dataclass(frozen=True)
class Point:
    """The figures at one operating point.

    Attributes:
        threshold: On the calibrated probability.
        shipped: Whether it is the one that is used unless another is asked for.
        metrics: Every figure of merit by name.
        confusion: Counts, rows the truth, columns the answer, the negative class first.
    """

    threshold: float
    shipped: bool
    metrics: dict[str, Estimate]
    confusion: list[list[int]]

    def to_json(self) -> dict[str, Any]:
        """The point by name of its parts."""
        return {**vars(self), "metrics": {name: each.to_json() for name, each in self.metrics.items()}}


@dataclass(frozen=True)
class Group:
    """Some of the images, at the shipped operating point.

    Attributes:
        by: What divides the images into groups.
        name: The group.
        images: How many images are in it.
        patients: How many patients they show.
        auroc: Of the group; where it has one class only, against all images of the other one.
        recall: Of its images of the positive class.
        specificity: Of its images of the negative class.
    """

    by: str
    name: str
    images: int
    patients: int
    auroc: Estimate
    recall: Estimate
    specificity: Estimate

    def to_json(self) -> dict[str, Any]:
        """The group by name of its parts."""
        estimates = {name: getattr(self, name).to_json() for name in ("auroc", "recall", "specificity")}
        return {**vars(self), **estimates}


@dataclass(frozen=True)
class Discrimination:
    """How well the classes are told apart.

    Attributes:
        points: The operating points of the bundle.
        groups: The groups.
        curve: Points of the ROC curve, [false positive rate, recall].
        note: What divided the images where their native size could not.
    """

    points: dict[str, Point]
    groups: tuple[Group, ...]
    curve: list[list[float]]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "points": {name: point.to_json() for name, point in self.points.items()},
            "groups": [group.to_json() for group in self.groups],
            "curve": self.curve,
            "note": self.note,
        }


def discriminate(setting: Setting, known: tuple[Attribute, ...]) -> Discrimination:
    """Measures the operating points of a bundle and the groups of its images.

    Args:
        setting: What is audited.
        known: The attributes of the images; quartiles of native size, or of sharpness where all sizes are the same.
    """
    points = setting.model.bundle.manifest.operating_points
    labels, probability = setting.labels, setting.answers.probability
    measured = {
        name: Point(
            point.threshold,
            name == points.default,
            _figures(setting, np.ones(len(labels), bool), point.threshold),
            confusion(labels, probability, point.threshold).tolist(),
        )
        for name, point in points.points.items()
    }
    groups = [_group(setting, "file family", name, rows) for name, rows in _families(setting)]
    by = {attribute.name: attribute for attribute in known}
    note, divided = None, by[SIZE]
    if not divided.varies:
        height, width = setting.images.sizes[0]
        note = f"Every file has {width}x{height} pixels, so quartiles of sharpness stand in for native size."
        divided = by[SHARPNESS]
    groups += [_group(setting, divided.short, name, rows) for name, rows in _quartiles(divided)]
    false, true, _ = roc_curve(labels, probability)
    some = np.unique(np.linspace(0, len(false) - 1, min(_CURVE_POINTS, len(false))).round().astype(int))
    return Discrimination(measured, tuple(groups), np.stack([false, true], 1)[some].tolist(), note)


def _families(setting: Setting) -> Iterator[tuple[str, Rows]]:
    families = np.array([sample.family for sample in setting.images.samples])
    for label, members in setting.classes.items():
        for name in np.unique(families[members]):
            yield f"{label}, {name}", (families == name) & members


def _quartiles(attribute: Attribute) -> Iterator[tuple[str, Rows]]:
    edges = np.quantile(attribute.values, (0, 0.25, 0.5, 0.75, 1))
    quarter = np.searchsorted(edges[1:-1], attribute.values, side="right")
    for row in range(4):
        yield f"quartile {row + 1} ({edges[row]:.4g} to {edges[row + 1]:.4g})", quarter == row


def _group(setting: Setting, by: str, name: str, rows: Rows) -> Group:
    found = set(setting.labels[rows].tolist())
    # A group of one class has no curve of its own; the other class as a whole stands against it.
    against = rows | (setting.labels == 1 - found.pop()) if len(found) == 1 else rows
    figures, compared = (_figures(setting, each, setting.threshold) for each in (rows, against))
    patients = len(set(setting.patients(rows)))
    return Group(by, name, int(rows.sum()), patients, compared["auroc"], figures["recall"], figures["specificity"])


def _figures(setting: Setting, rows: Rows, threshold: float) -> dict[str, Estimate]:
    if not rows.any():
        return dict.fromkeys(("auroc", "recall", "specificity"), Estimate(np.nan, np.nan, np.nan))
    return bootstrapped(
        setting.labels[rows],
        setting.answers.probability[rows],
        setting.patients(rows),
        threshold,
        resamples=setting.resamples,
        seed=setting.seed,
    )
