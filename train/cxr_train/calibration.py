"""From log-odds to a probability that means what it says, and the thresholds put on it; both chosen on validation.

Every label is believed. A threshold promises something of further patients like those it was chosen on, whatever the
distribution of their scores: the order statistics of n patients bound a share of all patients with a stated confidence
(the distribution-free tolerance limits of Wilks 1941, equation 5; class by class, as Mondrian conformal predictors do,
Vovk et al. 2005, section 4.5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from cxr_edge.bundle.manifest import Calibration, OperatingPoint
from cxr_train.dataset import Images
from cxr_train.perturbations import variants

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
RISKS = (0.05, 0.02, 0.1)
"""Largest share of patients with a wrong answer, for each operating point; the first is the default's."""
SMALLEST_SCALE = 1e-3
"""Of a network that tells the classes apart no better than chance: all its probabilities are then near one half."""


def calibrated(calibration: Calibration, logodds: NDArray[np.floating]) -> Floats:
    """Probability of PNEUMONIA, sigmoid(scale · log-odds + bias), float64 of the same shape."""
    return np.asarray(1 / (1 + np.exp(-(calibration.scale * np.asarray(logodds, np.float64) + calibration.bias))))


def fit_calibration(
    logodds: NDArray[np.floating], labels: NDArray[np.int32], *, chosen_on: str, prevalence: float | None = None
) -> Calibration:
    """Scale and bias with the least log loss (Platt 2000); of several variants, those of the least certain one.

    Each label is believed as far as Platt's prior for unseen cases (section 2.2) has it, or a few radiographs that a
    threshold separates would make the network infinitely sure.

    Other hospitals' habits are not known beforehand, but they will hardly make the network surer than it is of the
    variant that suits it least (the worst case over groups, Sagawa et al. 2020).

    Args:
        logodds: [N], or [V, N] for V variants of the same N images; uncalibrated.
        labels: int32 [N].
        chosen_on: What the images are, for the record.
        prevalence: The share of PNEUMONIA that the probability takes for granted; None takes that of the images.
    """
    share = float(labels.mean())
    prevalence = share if prevalence is None else prevalence
    weights = np.where(labels == 1, prevalence / share, (1 - prevalence) / (1 - share))
    positives, others = int(labels.sum()), int((1 - labels).sum())
    believed = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (others + 2))
    both, weights = np.repeat([1, 0], len(labels)), np.concatenate([weights * believed, weights * (1 - believed)])
    fitted = []
    for variant in np.atleast_2d(np.asarray(logodds, np.float64)):
        model = LogisticRegression(C=np.inf, max_iter=1000).fit(np.tile(variant, 2)[:, None], both, weights)
        fitted.append((float(model.coef_[0, 0]), float(model.intercept_[0])))
    scale, bias = min(fitted)
    if scale < SMALLEST_SCALE:
        scale, bias = SMALLEST_SCALE, float(np.log(prevalence / (1 - prevalence)))
    return Calibration("Platt scaling", scale, bias, chosen_on, prevalence)


def tolerated(patients: int, risk: float) -> int | None:
    """How many of ``patients`` may be on the wrong side of a limit for at most ``risk`` of all patients to be there.

    It is the largest k with P(Binomial(patients, risk) ≤ k) ≤ 1 - `CONFIDENCE`; None where even 0 is too many, because
    there are too few patients to promise so much.
    """
    k = int(stats.binom.ppf(1 - CONFIDENCE, patients, risk))
    k -= stats.binom.cdf(k, patients, risk) > 1 - CONFIDENCE
    return k if k >= 0 else None


def promised(patients: int, wrong: int) -> float:
    """The share of all patients that is on the wrong side at most, where ``wrong`` of some are (Clopper-Pearson)."""
    return float(stats.beta.ppf(CONFIDENCE, wrong + 1, patients - wrong)) if wrong < patients else 1.0


def operating_points(
    probability: Floats, labels: NDArray[np.int32], patients: Sequence[str], *, chosen_on: str
) -> dict[str, Any]:
    """Two thresholds for each of `RISKS`, in the manifest's form, named by the recall that they promise.

    Below ``threshold`` the label is NORMAL: it lies as high as it may for at most a share ``risk`` of the PNEUMONIA
    patients to fall below it. From ``certain_from`` on the label is PNEUMONIA: it lies as high as it may for all but a
    share ``risk`` of the PNEUMONIA radiographs to be decided, and no lower than it must for at most ``risk`` of the
    NORMAL patients to reach it. Between the two the answer is unsure. A patient with several radiographs counts by the
    one that is furthest on the wrong side.

    Args:
        probability: float64 [N], calibrated.
        labels: int32 [N].
        patients: Who each image shows.
        chosen_on: What the images are, for the record.
    """
    lowest = _by_patient(probability[labels == 1], [p for p, y in zip(patients, labels, strict=True) if y == 1], min)
    highest = _by_patient(probability[labels == 0], [p for p, y in zip(patients, labels, strict=True) if y == 0], max)
    points = {}
    for risk in RISKS:
        missed, alarms = (tolerated(len(each), risk) or 0 for each in (lowest, highest))
        threshold = _limit(lowest, missed)
        needed = 1 - _limit(1 - highest[::-1], alarms)
        certain = max(threshold, needed, float(np.quantile(probability[labels == 1], risk)))
        called = probability >= threshold
        recall = 1 - promised(len(lowest), missed)
        name = f"recall-{np.floor(100 * recall + 1e-9):.0f}"
        points[name] = OperatingPoint(
            threshold,
            f"at most {missed} of {len(lowest)} PNEUMONIA patients below it; unsure up to where {100 * risk:g} % of"
            f" their radiographs are undecided, and at most {alarms} of {len(highest)} NORMAL patients lie above",
            chosen_on,
            float(called[labels == 1].mean()),
            float(1 - called[labels == 0].mean()),
            certain,
            {
                "confidence": CONFIDENCE,
                "missed_at_most": promised(len(lowest), missed),
                "false_alarms_at_most": promised(len(highest), int((highest >= certain).sum())),
                "patients": {"PNEUMONIA": len(lowest), "NORMAL": len(highest)},
                "of": "further patients of whom these are a random sample",
            },
        ).to_json()
    return {"default": next(iter(points)), "points": points}


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What networks of the same recipe say of patients whom they did not learn from, every patient once.

    Attributes:
        probability: float64 [N], each calibrated as the network that said it.
        labels: int32 [N].
        patients: Who each radiograph shows.
    """

    probability: Floats
    labels: NDArray[np.int32]
    patients: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Sequence[OutOfFold]) -> OutOfFold:
        """Puts the parts of several networks together."""
        return cls(
            np.concatenate([each.probability for each in parts]),
            np.concatenate([each.labels for each in parts]),
            tuple(patient for each in parts for patient in each.patients),
        )


def choose(
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: Images, *, folds: OutOfFold | None = None
) -> dict[str, Any]:
    """Chooses the calibration and the operating points of any network.

    Args:
        score: Images uint8 [N, H, W] → uncalibrated log-odds [N].
        images: Radiographs of patients that it did not learn from; perturbed copies are made of them for the
            calibration alone.
        folds: Answers to all training patients, which the thresholds are chosen on (Barber et al. 2021, section 1.2);
            None chooses them on ``images``.

    Returns:
        ``calibration`` and ``operating_points``, in the manifest's form.
    """
    scores = np.stack([score(pixels) for pixels in variants(images.pixels)])
    chosen_on = f"{len(images.samples)} radiographs of {len(set(images.patients))} held-out training patients"
    copies = f", and {len(scores) - 1} perturbed copies of each"
    calibration = fit_calibration(scores, images.labels, chosen_on=chosen_on + copies)
    if folds is None:
        folds = OutOfFold(calibrated(calibration, scores[0]), images.labels, tuple(images.patients))
    else:
        chosen_on = (
            f"{len(folds.labels)} radiographs of {len(set(folds.patients))} training patients, each answered by a"
            " network of the same recipe that did not learn from the patient"
        )
    points = operating_points(folds.probability, folds.labels, folds.patients, chosen_on=chosen_on)
    return {"calibration": calibration.to_json(), "operating_points": points}


def _by_patient(probability: Floats, patients: Sequence[str], worst: Callable[[list[float]], float]) -> Floats:
    """One probability a patient, in ascending order."""
    of: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(patients, probability, strict=True):
        of[name].append(float(value))
    return np.sort([worst(values) for values in of.values()])


def _limit(ascending: Floats, below: int) -> float:
    """A probability that exactly ``below`` of some lie under, half way to the next in log-odds; ties lie above."""
    first = _logit(ascending[min(below, len(ascending) - 1)])
    under = ascending[ascending < ascending[min(below, len(ascending) - 1)]]
    return float(_sigmoid((first + _logit(under[-1])) / 2 if len(under) else first - 1e-6))


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
