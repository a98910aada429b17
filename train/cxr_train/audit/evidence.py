"""Where the evidence lies: how much of Grad-CAM and of LIME's positive weight is inside human-drawn lungs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.lungs import measure_evidence
from cxr_edge.explanation.rendering import BgrImage, grey_picture, heat, outline, tint, to_jpeg
from cxr_edge.files import write_atomically
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.results.outcomes import Prediction
from cxr_train.audit.answers import LUNG, UNKNOWN, Setting
from cxr_train.metrics import Estimate, dice
from cxr_train.perturbations import Levels

Weights = NDArray[np.float32]
_SIDE = 320
_LUNG = (255, 220, 60)  # BGR: light blue, told apart from both maps
_MISTAKES = 3
_RANKS = {"the least": 0.0, "the median": 0.5, "the most": 1.0}


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
        single = {name: [getattr(each, name) for each in self.shares] for name in ("gradcam", "lime")}
        return {name: value for name, value in vars(self).items() if name != "shares"} | single


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
    outlined = cv2.resize(lungs, shape[::-1], interpolation=cv2.INTER_AREA)
    lime = explainer.lime.explain(pixels, label) if explained else None
    return Shares(
        row=row,
        lungs=inside(np.ones(mask.shape), mask),
        gradcam=inside(smooth(cells, height, width), mask),
        lime=np.nan if lime is None else inside(np.maximum(lime.superpixels.spread(lime.coefficients), 0), mask),
        bound=bound(mask, shape),
        outline=inside(smooth(outlined, height, width), mask),
    )


@dataclass(frozen=True)
class Outlines:
    """How far the outline that `explain` uses can be trusted.

    Attributes:
        images: How many have a human mask.
        dice: Mean Dice coefficient, over the pixels that the human mask does not leave open.
        doubted: How many images `explain` finds no pair of lungs in.
        stated: By class, the mean share of Grad-CAM inside the lungs that `explain` states.
        off: Mean absolute difference between that and the share inside the human mask.
    """

    images: int
    dice: Estimate
    doubted: int
    stated: dict[str, Estimate]
    off: Estimate


def outlines(setting: Setting, where: Mapping[str, ClassEvidence] | None) -> Outlines | None:
    """Outlines the lungs of every image with a human mask; None without masks, or if the bundle outlines nothing.

    Args:
        setting: What is audited.
        where: The evidence inside the human masks.
    """
    explainer, masked = setting.model.explainer, setting.masked
    if where is None or setting.masks is None or explainer.lungs is None or not masked.any():
        return None
    found = np.zeros(setting.masks.shape, bool)
    stated, human = np.full(len(masked), np.nan), np.full(len(masked), np.nan)
    doubted = 0
    for label, evidence in where.items():
        for each in evidence.shares:
            drawn = explainer.lungs.outline(setting.images.pixels[each.row].astype(np.float32))
            saliency = explainer.gradcam.explain(predict_one(setting, each.row).features, label)
            share = measure_evidence(drawn, label, saliency, None).saliency
            found[each.row] = drawn.mask
            doubted += drawn.implausible is not None
            stated[each.row], human[each.row] = np.nan if share is None else share, each.gradcam
    return Outlines(
        images=int(masked.sum()),
        dice=setting.mean(dice(found[masked], setting.masks[masked]), masked),
        doubted=doubted,
        stated={name: setting.mean(stated[masked & rows], masked & rows) for name, rows in setting.classes.items()},
        off=setting.mean(np.abs(stated - human)[masked], masked),
    )


@dataclass(frozen=True)
class GalleryPicture:
    """A picture of the gallery.

    Attributes:
        heading: The heading it stands under.
        path: The file: the radiograph, its Grad-CAM and, where computed, its LIME explanation side by side.
        caption: What it shows.
    """

    heading: str
    path: Path
    caption: str


def draw_gallery(setting: Setting, where: Mapping[str, ClassEvidence], folder: Path) -> tuple[GalleryPicture, ...]:
    """Draws the gallery into a folder.

    Args:
        setting: What is audited.
        where: The evidence of its images.
        folder: Where the pictures go.
    """
    lime = any(each.explained for each in where.values())
    out: list[GalleryPicture] = []
    for heading, label, row, caption in (*_ranked(setting, where), *_mistakes(setting)):
        path = folder / f"picture-{len(out) + 1:02}.jpg"
        write_atomically(path, to_jpeg(_picture(setting, row, label, lime=lime), quality=88))
        out.append(GalleryPicture(heading, path, caption))
    return tuple(out)


def _ranked(setting: Setting, where: Mapping[str, ClassEvidence]) -> Iterator[tuple[str, str, int, str]]:
    for label, found in where.items():
        known = sorted((each for each in found.shares if each.gradcam == each.gradcam), key=lambda each: each.gradcam)
        if not known:
            continue
        for rank, quantile in _RANKS.items():
            each = known[round(quantile * (len(known) - 1))]
            lime = "" if np.isnan(each.lime) else f", {each.lime:.0%} of LIME's positive weight"
            caption = f"{each.gradcam:.0%} of Grad-CAM{lime} ({rank}; lungs are {each.lungs:.0%} of the picture)"
            yield (
                f"Evidence for {label} inside the lungs: the least, the median and the most of {len(known)} images",
                label,
                each.row,
                f"{_name(setting, each.row)}: {caption}",
            )


def _mistakes(setting: Setting) -> Iterator[tuple[str, str, int, str]]:
    probability = setting.answers.probability
    called = setting.rank(probability)
    names = list(setting.classes)
    for truth, name in enumerate(names):
        wrong = np.flatnonzero((setting.labels == truth) & (called == 1 - truth))
        surest = wrong[np.argsort(probability[wrong] if truth else -probability[wrong], kind="stable")][:_MISTAKES]
        for row in surest.tolist():
            answered = names[1 - truth]
            yield (
                f"{name} called {answered}: the surest of {len(wrong)} mistakes",
                answered,
                row,
                f"{_name(setting, row)}: probability {probability[row]:.3f}, the maps show what speaks for {answered}",
            )


def _picture(setting: Setting, row: int, label: str, *, lime: bool) -> BgrImage:
    explainer, pixels = setting.model.explainer, setting.images.pixels[row]
    source = Source(None, "array", pixels.shape[1], pixels.shape[0], 8)
    grey, _ = grey_picture(Radiograph(pixels, 255.0, source), smallest=_SIDE, largest=_SIDE)
    height, width = grey.shape[:2]
    saliency = explainer.gradcam.explain(predict_one(setting, row).features, label)
    panels = [grey, heat(grey, saliency.upsample(height, width))]
    if lime:
        explained = explainer.lime.explain(pixels.astype(np.float32), label)
        weights = explained.coefficients / max(float(np.abs(explained.coefficients).max()), 1e-12)
        painted = explained.superpixels.paint(weights).astype(np.float32)
        panels.append(tint(grey, cv2.resize(painted, (width, height), interpolation=cv2.INTER_NEAREST)))
    if setting.masks is not None and setting.masked[row]:
        lungs = (setting.masks[row] == LUNG).astype(np.uint8)
        region = cv2.resize(lungs, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        panels = [panels[0], *(outline(panel, region, _LUNG) for panel in panels[1:])]
    return np.hstack(panels)


def _name(setting: Setting, row: int) -> str:
    return setting.images.samples[row].path.name
