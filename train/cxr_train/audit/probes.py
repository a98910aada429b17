"""Harmless changes of every radiograph: how many labels flip and how far the score moves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cxr_train.audit.answers import answer
from cxr_train.audit.outcome import Outcome, compare
from cxr_train.audit.setting import Setting
from cxr_train.audit.variations import lungs_hidden, outside_replaced, variations


def probe(setting: Setting) -> Iterator[Outcome]:
    """Applies every variation to every radiograph; those of the surroundings only where there is a lung mask."""
    pixels, everything = setting.images.pixels, np.ones(len(setting.labels), bool)
    for name, vary in variations().items():
        changed = np.stack([vary(image) for image in pixels])
        yield compare(setting, name, answer(setting.model, changed), everything)
    rows = setting.masked
    if setting.masks is not None and len(set(setting.labels[rows].tolist())) == 2:
        for name, changed in outside_replaced(pixels[rows], setting.masks[rows], setting.labels[rows]):
            yield compare(setting, name, answer(setting.model, changed), rows)


def hide_lungs(setting: Setting) -> Outcome | None:
    """Hides the lungs: an honest network no longer tells the classes apart. None without masks."""
    rows = setting.masked
    if setting.masks is None or not rows.any():
        return None
    changed = lungs_hidden(setting.images.pixels[rows], setting.masks[rows])
    return compare(setting, "lungs hidden", answer(setting.model, changed), rows)
