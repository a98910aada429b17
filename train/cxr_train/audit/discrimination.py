"""How well the classes are told apart, whether stated probabilities come true, and what else the score follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score, roc_curve

from cxr_train.audit.answers import Rows, Setting
from cxr_train.calibration import Floats
from cxr_train.dataset import Images
from cxr_train.metrics import Estimate, bootstrapped, confusion, decided, expected_calibration_error

SIZE, SHARPNESS = "native size (megapixels)", "sharpness (variance of the Laplacian)"
_CURVE_POINTS = 200
_BINS = 10


@dataclass(frozen=True, eq=False)
class Attribute:
    """A number that each image has and that says nothing about the lungs.

    Attributes:
        name: What it is.
        values: float64 [N].
    """

    name: str
    values: Floats

    @property
    def short(self) -> str:
        """The name without the unit."""
        return self.name.partition(" (")[0]

    @property
    def varies(self) -> bool:
        """Whether the images differ in it at all."""
        return len(np.unique(self.values)) > 1


def attributes(images: Images) -> tuple[Attribute, ...]:
    """Measures images.

    Size and shape are those of the files; the rest is measured on the network's input in grey levels. Copies that were
    brought to one size no longer carry the first two.
    """
    pixels = images.pixels
    size = images.sizes.astype(np.float64)
    return (
        Attribute(SIZE, size.prod(1) / 1e6),
        Attribute("aspect ratio (width by height)", size[:, 1] / size[:, 0]),
        Attribute(SHARPNESS, np.array([cv2.Laplacian(each, cv2.CV_64F).var() for each in pixels])),
        Attribute("brightness (mean)", np.array([each.mean() for each in pixels], np.float64)),
        Attribute("contrast (standard deviation)", np.array([each.std() for each in pixels], np.float64)),
    )


@dataclass(frozen=True)
class Point:
    """The figures at one operating point.

    Attributes:
        threshold: On the calibrated probability; below it the label is the negative one.
        certain_from: From it on the label is the positive one; between the two it is UNSURE.
        shipped: Whether it is the one that is used unless another is asked for.
        metrics: Every figure of merit by name, UNSURE counted as positive.
        decided: Shares missed, called positive wrongly, and unsure.
        confusion: Counts, rows the truth, columns the answer, the negative class first.
    """

    threshold: float
    certain_from: float
    shipped: bool
    metrics: dict[str, Estimate]
    decided: dict[str, Estimate]
    confusion: list[list[int]]


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
            point.upper,
            name == points.default,
            _figures(setting, np.ones(len(labels), bool), point.threshold),
            decided(labels, probability, point.threshold, point.upper),
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


@dataclass(frozen=True)
class Bin:
    """The images with a probability in one tenth of the scale.

    Attributes:
        images: How many.
        stated: The mean of their probabilities.
        observed: The share of them that is of the positive class.
    """

    images: int
    stated: float
    observed: float


@dataclass(frozen=True)
class Reliability:
    """How far stated probabilities are from observed shares.

    Attributes:
        ece: Expected calibration error, 15 bins of equal width (Naeini et al. 2015).
        prevalence: The share of the positive class that the bundle's probabilities take for granted; None unstated.
        ece_at_prevalence: The error with the images weighted to it.
        mean_stated: By class, the mean probability of the positive label.
        bins: What the reliability diagram shows; bins without an image are left out.
    """

    ece: Estimate
    prevalence: float | None
    ece_at_prevalence: Estimate | None
    mean_stated: dict[str, float]
    bins: tuple[Bin, ...]


def reliability(setting: Setting) -> Reliability:
    """Measures the calibration of a bundle."""
    labels, probability = setting.labels, setting.answers.probability
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = tuple(
        Bin(int(rows.sum()), float(probability[rows].mean()), float(labels[rows].mean()))
        for rows in (place == each for each in range(_BINS))
        if rows.any()
    )
    everything, prevalence = np.ones(len(labels), bool), setting.model.bundle.manifest.calibration.prevalence

    def error(rows: NDArray[np.intp], at: float | None = None) -> float:
        return expected_calibration_error(labels[rows], probability[rows], prevalence=at)

    return Reliability(
        setting.estimate(error, everything),
        prevalence,
        None if prevalence is None else setting.estimate(lambda rows: error(rows, prevalence), everything),
        {name: float(probability[rows].mean()) for name, rows in setting.classes.items()},
        bins,
    )


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


def spearman(one: Floats, other: Floats) -> float:
    """Rank correlation of two values [N] (Spearman 1904), ties sharing their mean rank; NaN where one is constant."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else np.nan


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
