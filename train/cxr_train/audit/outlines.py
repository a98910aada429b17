"""The bundle's own outline of the lungs against the human one, and the share of the evidence that it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_edge.explanation.lungs import measure_evidence
from cxr_train.audit.evidence import ClassEvidence, predict_one
from cxr_train.audit.setting import Setting
from cxr_train.metrics import Estimate, dice


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

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "images": self.images,
            "dice": self.dice.to_json(),
            "doubted": self.doubted,
            "stated": {name: each.to_json() for name, each in self.stated.items()},
            "off": self.off.to_json(),
        }


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
            outline = explainer.lungs.outline(setting.images.pixels[each.row].astype(np.float32))
            saliency = explainer.gradcam.explain(predict_one(setting, each.row).features, label)
            share = measure_evidence(outline, label, saliency, None).saliency
            found[each.row] = outline.mask
            doubted += outline.implausible is not None
            stated[each.row], human[each.row] = np.nan if share is None else share, each.gradcam
    return Outlines(
        images=int(masked.sum()),
        dice=setting.mean(dice(found[masked], setting.masks[masked]), masked),
        doubted=doubted,
        stated={name: setting.mean(stated[masked & rows], masked & rows) for name, rows in setting.classes.items()},
        off=setting.mean(np.abs(stated - human)[masked], masked),
    )
