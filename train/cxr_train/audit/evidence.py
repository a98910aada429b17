"""Where the evidence lies: how much of Grad-CAM and of LIME's positive weight is inside human-drawn lungs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.results.outcomes import Prediction
from cxr_train.audit.answers import Levels
from cxr_train.audit.setting import LUNG, UNKNOWN, Setting
from cxr_train.metrics import Estimate

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Shares:
    """What is inside the lungs of one image, each a share of what lies on pixels that the mask does not leave open.

    Attributes:
        row: Which image.
        lungs: Of the picture: what evidence that knows nothing of lungs would reach.
        gradcam: Of the Grad-CAM of the image's own class; NaN where the map is empty.
        lime: Of LIME's positive weight for the image's own class; NaN where it was not computed or there is none.
        bound: The largest share that any map of this resolution can have, see `bound`.
        outline: The share of a map that is, in each cell, how much of the cell is lung.
    """

    row: int
    lungs: float
    gradcam: float
    lime: float
    bound: float
    outline: float


@dataclass(frozen=True)
class ClassEvidence:
    """The shares over all images of a class that have a mask.

    Attributes:
        images: How many.
        explained: How many of them LIME explained.
        means: Mean of each of `Shares`.
        below: Share of the images whose Grad-CAM lies less inside the lungs than the lungs' share of the picture.
        shares: The single images.
    """

    images: int
    explained: int
    means: dict[str, Estimate]
    below: float
    shares: tuple[Shares, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it by name; the single images without their place in the folder."""
        return {
            "images": self.images,
            "explained": self.explained,
            "means": {name: each.to_json() for name, each in self.means.items()},
            "below": self.below,
            "gradcam": [each.gradcam for each in self.shares],
            "lime": [each.lime for each in self.shares],
        }


def smooth(cells: Weights, height: int, width: int) -> Weights:
    """Spreads a map of cells over a picture, bilinearly: a weighted sum of one hat function for each cell."""
    return np.asarray(cv2.resize(cells.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def inside(weights: NDArray[np.floating], mask: Levels) -> float:
    """Share of weights [H, W] ≥ 0 on lung, of those on pixels that the mask does not leave open; NaN if all are 0."""
    total = float(weights[mask != UNKNOWN].sum(dtype=np.float64))
    return float(weights[mask == LUNG].sum(dtype=np.float64)) / total if total > 0 else np.nan


def bound(mask: Levels, cells: tuple[int, int]) -> float:
    """The largest share inside the lungs that a map ≥ 0 of [rows, columns] cells, spread by `smooth`, can have.

    A map m has the share Σ m_c a_c / Σ m_c b_c, with a_c the weight of cell c's hat function on lung and b_c that on
    all pixels that count. It is a mean of the ratios a_c / b_c with the weights m_c b_c, so no map exceeds the largest
    ratio, and the map with all its weight on that one cell reaches it.
    """
    height, width = mask.shape
    best = 0.0
    for cell in range(cells[0] * cells[1]):
        alone = np.zeros(cells[0] * cells[1], np.float32)
        alone[cell] = 1
        best = max(best, np.nan_to_num(inside(smooth(alone.reshape(cells), height, width), mask)))
    return best


def evidence(setting: Setting, *, lime: int | None) -> dict[str, ClassEvidence] | None:
    """Measures the evidence for its own class in each image with a mask; None without masks.

    Args:
        setting: What is audited.
        lime: How many images of each class LIME explains, evenly spread; None means all.
    """
    if setting.masks is None:
        return None
    out = {}
    for name, members in setting.classes.items():
        rows = np.flatnonzero(members & setting.masked)
        count = len(rows) if lime is None else min(lime, len(rows))
        explained = set(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)].tolist())
        shares = tuple(_shares(setting, name, row, setting.masks[row], row in explained) for row in rows.tolist())
        chosen = members & setting.masked
        means = {
            field: setting.mean(np.array([getattr(each, field) for each in shares]), chosen)
            for field in ("lungs", "gradcam", "lime", "bound", "outline")
        }
        below = float(np.mean([each.gradcam < each.lungs for each in shares])) if shares else np.nan
        out[name] = ClassEvidence(len(rows), len(explained), means, below, shares)
    return out


def predict_one(setting: Setting, row: int) -> Prediction:
    """The prediction for one image, with its features."""
    return setting.model.classifier.predict(setting.images.pixels[row][None].astype(np.float32))[0]


def _shares(setting: Setting, label: str, row: int, mask: Levels, explained: bool) -> Shares:
    explainer, pixels = setting.model.explainer, setting.images.pixels[row].astype(np.float32)
    cells = explainer.gradcam.explain(predict_one(setting, row).features, label).raw
    shape = (cells.shape[0], cells.shape[1])
    height, width = mask.shape
    lungs = (mask == LUNG).astype(np.float32)
    outline = cv2.resize(lungs, shape[::-1], interpolation=cv2.INTER_AREA)
    lime = explainer.lime.explain(pixels, label) if explained else None
    return Shares(
        row=row,
        lungs=inside(np.ones(mask.shape), mask),
        gradcam=inside(smooth(cells, height, width), mask),
        lime=np.nan if lime is None else inside(np.maximum(lime.superpixels.spread(lime.coefficients), 0), mask),
        bound=bound(mask, shape),
        outline=inside(smooth(outline, height, width), mask),
    )
