"""Radiographs to look at: where the evidence lies best and worst, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.rendering import Picture, grey_picture, heat, outline, tint
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_train.audit.evidence import ClassEvidence, Shares, predict_one
from cxr_train.audit.setting import LUNG, Setting

_SIDE = 320
_LUNG = (255, 220, 60)  # BGR: light blue, told apart from both maps
_MISTAKES = 3
_RANKS = {"the least": 0.0, "the median": 0.5, "the most": 1.0}


@dataclass(frozen=True)
class Hung:
    """A picture of the gallery.

    Attributes:
        room: The heading it hangs under.
        path: The file: the radiograph, its Grad-CAM and, where computed, its LIME explanation side by side.
        caption: What it shows.
    """

    room: str
    path: Path
    caption: str


def hang(setting: Setting, where: Mapping[str, ClassEvidence], folder: Path) -> tuple[Hung, ...]:
    """Draws the gallery into a folder.

    Args:
        setting: What is audited.
        where: The evidence of its images.
        folder: Where the pictures go.
    """
    lime = any(each.explained for each in where.values())
    out: list[Hung] = []
    for room, label, row, caption in (*_ranked(setting, where), *_mistakes(setting)):
        path = folder / f"picture-{len(out) + 1:02}.jpg"
        cv2.imwrite(str(path), _picture(setting, row, label, lime=lime), [cv2.IMWRITE_JPEG_QUALITY, 88])
        out.append(Hung(room, path, caption))
    return tuple(out)


def _ranked(setting: Setting, where: Mapping[str, ClassEvidence]) -> Iterator[tuple[str, str, int, str]]:
    for label, found in where.items():
        known = sorted((each for each in found.shares if each.gradcam == each.gradcam), key=_gradcam)
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
    called = probability >= setting.threshold
    names = list(setting.classes)
    for truth, name in enumerate(names):
        wrong = np.flatnonzero((setting.labels == truth) & (called != (truth == 1)))
        surest = wrong[np.argsort(probability[wrong] if truth else -probability[wrong], kind="stable")][:_MISTAKES]
        for row in surest.tolist():
            answered = names[1 - truth]
            yield (
                f"{name} called {answered}: the surest of {len(wrong)} mistakes",
                answered,
                row,
                f"{_name(setting, row)}: probability {probability[row]:.3f}, the maps show what speaks for {answered}",
            )


def _picture(setting: Setting, row: int, label: str, *, lime: bool) -> Picture:
    explainer, pixels = setting.model.explainer, setting.images.pixels[row]
    source = Source(None, "array", pixels.shape[1], pixels.shape[0], 8)
    grey, _ = grey_picture(Radiograph(pixels, 255.0, source), smallest=_SIDE, largest=_SIDE)
    height, width = grey.shape[:2]
    saliency: SaliencyMap = explainer.gradcam.explain(predict_one(setting, row).features, label)
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


def _gradcam(each: Shares) -> float:
    return each.gradcam


def _name(setting: Setting, row: int) -> str:
    return setting.images.samples[row].path.name
