"""What every precision of a bundle costs against fp32, on radiographs: the bounds that the runtime keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import ProviderError
from cxr_edge.explanation.explainer import Explainer
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import Prediction
from cxr_edge.runtime.providers import BF16, Provider
from cxr_export.bundle import changing
from cxr_train.dataset import Images, find_samples, read_images

_BATCH = 16
_LESS_IS_WORSE = {"label_agreement", "gradcam_correlation", "lime_correlation"}
_EXPLAINED = 12
"""Radiographs, evenly spaced, whose LIME is compared: each costs more than a hundred answers."""


def measure_losses(bundle: Bundle, *, data: Any, split: str = "test") -> dict[str, dict[str, Any]]:
    """Measures every precision besides fp32 that runs on this machine, and states its loss in the manifest.

    Of a precision that several engines compute, the worst figures are stated. What its entry says already, such as what
    int8 was calibrated on, stays. bf16 has no file of its own; it gets an entry where this machine computes in it.

    Args:
        bundle: An opened bundle; its folder is replaced in one step.
        data: The Kaggle folder.
        split: Which of its folders the loss is measured on.

    Returns:
        The loss by precision, as the manifest has it now.
    """
    manifest = bundle.manifest
    images = read_images(find_samples(data, [split]), height=manifest.input.height, width=manifest.input.width)
    exact = Classifier(bundle, provider="cpu")
    expected = _answers(exact, images)
    maps, weights = _maps(exact, expected), _weights(exact, expected)
    losses: dict[str, dict[str, Any]] = {}
    for name, classifier in _runnable(bundle):
        found = _answers(classifier, images)
        figures = {
            **_differences(expected, found, images.labels),
            "gradcam_correlation": _correlation(maps, _maps(classifier, found)),
            "lime_correlation": _correlation(weights, _weights(classifier, found)),
        }
        before = losses.get(name)
        stated = manifest.precisions[name].loss if name in manifest.precisions else {}
        losses[name] = {
            **stated,
            "images": len(found),
            "measured_on": f"the {split} folder",
            "computed_by": [*(before["computed_by"] if before else []), classifier.session.provider],
            **({key: _worse(key, before[key], value) for key, value in figures.items()} if before else figures),
        }
    with changing(bundle) as (_, values):
        for name, loss in losses.items():
            entry = values["precisions"].setdefault(name, {"file": manifest.precisions["fp32"].file})
            entry["loss"] = loss
    return losses


def _runnable(bundle: Bundle) -> Iterator[tuple[str, Classifier]]:
    engines: tuple[Provider, ...] = ("cpu", "openvino")
    for name in dict.fromkeys((*bundle.manifest.precisions, BF16)):
        for provider in engines if name != "fp32" else ():
            with suppress(ProviderError):  # it is not installed, or does not compute in this precision
                yield name, Classifier(bundle, provider=provider, precision=name)


def _worse(name: str, one: float | None, other: float | None) -> float | None:
    """Gives the figure that says the greater loss."""
    if one is None or other is None:
        return None
    if name in _LESS_IS_WORSE:
        return min(one, other)
    return max(one, other, key=abs)


def _answers(classifier: Classifier, images: Images) -> list[Prediction]:
    pixels = images.pixels.astype(np.float32)
    starts = range(0, len(pixels), _BATCH)
    return [each for start in starts for each in classifier.predict(pixels[start : start + _BATCH])]


def _differences(
    expected: list[Prediction], found: list[Prediction], labels: NDArray[np.integer[Any]]
) -> dict[str, float | None]:
    before, after = (np.array([each.logodds for each in side]) for side in (expected, found))
    error = np.abs(after - before)
    largest = {
        name: float(
            max(abs(getattr(new, score) - getattr(old, score)) for old, new in zip(expected, found, strict=True))
        )
        for name, score in (("max_gate_error", "gate_score"), ("max_scope_error", "scope_score"))
        if getattr(expected[0], score) is not None
    }
    auroc = roc_auc_score(labels, after) - roc_auc_score(labels, before) if len(set(labels)) > 1 else None
    return {
        "mean_logodds_error": float(error.mean()),
        "max_logodds_error": float(error.max()),
        "label_agreement": float(np.mean([old.label == new.label for old, new in zip(expected, found, strict=True)])),
        "auroc_difference": None if auroc is None else float(auroc),
        **largest,
    }


def _maps(classifier: Classifier, answers: list[Prediction]) -> list[NDArray[Any]]:
    explainer, positive = Explainer(classifier), classifier.bundle.manifest.positive
    return [explainer.gradcam.explain(each.features, positive).raw for each in answers]


def _weights(classifier: Classifier, answers: list[Prediction]) -> list[NDArray[Any]]:
    explainer, positive = Explainer(classifier), classifier.bundle.manifest.positive
    chosen = answers[:: -(-len(answers) // _EXPLAINED)]
    return [explainer.lime.explain(each.input, positive).coefficients for each in chosen]


def _correlation(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> float | None:
    """Gives the mean correlation (Pearson) of pairs; what is everywhere the same has none and is left out."""
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(expected, found, strict=True) if a.std() > 0 and b.std() > 0]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])) if pairs else None
