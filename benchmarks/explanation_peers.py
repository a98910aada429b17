"""What other packages and papers estimate of a radiograph whose superpixels are shown or hidden, for exact_shapley.py.

Each takes the scores of coalitions, how many evaluations it may have, and a seed; most state no intervals.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.lime.perturbations import Masks, fit_ridge, independent
from cxr_edge.explanation.shapley.surrogate import Regression

Floats = NDArray[np.float64]
Ask = Callable[[NDArray[Any]], Floats]
"""Coalitions [n, d] of 0 and 1 → log-odds [n]."""


def package_shap(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """The `shap` package."""
    import shap

    np.random.seed(seed)  # noqa: NPY002  # the package draws from the legacy generator
    explainer = shap.KernelExplainer(ask, np.zeros((1, count)))
    found = explainer.shap_values(np.ones((1, count)), nsamples=evaluations - 2, l1_reg=False, silent=True)
    return np.asarray(found[0], np.float64)


def leverage_shap(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """Leverage SHAP (Musco and Witter 2025, algorithm 1): pairs of complements, each drawn by a coin of its own.

    The leverage score of a coalition of size s is 1/C(d, s) (lemma 3.2). A pair is kept with the chance
    min(1, c/C(d, s)), c such that so many are expected as there are evaluations for; what is kept weighs Shapley's
    kernel over that chance.
    """
    random = np.random.default_rng(seed)
    sizes = np.arange(1, count // 2 + 1)
    pairs = np.array([comb(count, int(s)) for s in sizes], np.float64) / np.where(2 * sizes == count, 2, 1)
    leverage = 1 / np.array([comb(count, int(s)) for s in sizes], np.float64)
    wanted = min((evaluations - 2) / 2, float(pairs.sum()))
    low, high = 0.0, float(2 / leverage.min())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (pairs * np.minimum(1, middle * leverage)).sum() < wanted else (low, middle)
    chances = np.minimum(1, high * leverage)
    shown, weights = [], []
    for size, number, chance in zip(sizes, pairs, chances, strict=True):
        drawn = int(random.binomial(int(number), chance))
        weights += [1 / (comb(count, int(size)) * size * (count - size) * chance)] * drawn
        shown += _different(count, int(size), drawn, random)
    first = np.array(shown, np.uint8).reshape(-1, count)
    scores = ask(np.concatenate([first, 1 - first]))
    none, whole = ask(np.outer([0, 1], np.ones(count, np.uint8)))
    odd = (scores[: len(first)] - scores[len(first) :]) / 2
    return Regression.fit(first * 2.0 - 1, odd, np.array(weights), float(whole - none)).values


def _different(count: int, size: int, number: int, random: np.random.Generator) -> list[NDArray[np.uint8]]:
    """So many coalitions of a size, no two of them alike or complements."""
    seen: set[bytes] = set()
    found: list[NDArray[np.uint8]] = []
    while len(found) < number:
        mask = np.zeros(count, np.uint8)
        mask[random.permutation(count)[:size]] = 1
        key = min(mask.tobytes(), (1 - mask).tobytes())
        if key not in seen:
            seen.add(key)
            found.append(mask)
    return found


def captum_kernel(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """Captum's KernelSHAP."""
    from captum.attr import KernelShap

    return _captum(KernelShap, ask, count, seed, n_samples=evaluations - 2)


def captum_permutations(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """Captum's sampling of permutations, as many whole ones as there are evaluations for."""
    from captum.attr import ShapleyValueSampling

    return _captum(ShapleyValueSampling, ask, count, seed, n_samples=max(1, (evaluations - 1) // count))


def captum_lime(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """Captum's LIME with plain least squares: its default, a lasso, leaves most superpixels out."""
    from captum._utils.models.linear_model import SkLearnLinearRegression
    from captum.attr import Lime

    kind = partial(Lime, interpretable_model=SkLearnLinearRegression())
    return _captum(kind, ask, count, seed, n_samples=evaluations)


def captum_kernel_weights(masks: Masks) -> Floats:
    """What Captum's LIME weighs a coalition with: a Gaussian of its cosine distance, of width 1."""
    return np.asarray(np.exp(-((1 - np.sqrt(masks.mean(axis=1))) ** 2) / 2), np.float64)


def _captum(kind: Any, ask: Ask, count: int, seed: int, **options: int) -> Floats:
    """What one of Captum's methods attributes to each superpixel; it asks one coalition at a time."""
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    explain = kind(lambda rows: torch.tensor(ask(rows.numpy()))).attribute
    found = explain(torch.ones(1, count), baselines=torch.zeros(1, count), **options)
    return np.asarray(found.numpy()[0], np.float64)


def package_lime(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """What `lime` computes, on the log-odds; that it is the same is tested (test_lime_reference.py)."""
    masks = independent(count, evaluations, np.random.RandomState(seed))
    return fit_ridge(masks, ask(masks)).coefficients


def dianna_lime(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """DIANNA's LIME: a picture of one row, each pixel a superpixel; with `lime`'s kernel, its own weighs nothing."""
    from dianna.methods.lime_image import LIMEImage

    def run(pictures: NDArray[Any]) -> Floats:
        values = ask((pictures.reshape(len(pictures), count, -1)[:, :, 0] > 0.5).astype(np.uint8))
        return np.stack([-values, values], axis=1)

    method = LIMEImage(kernel_width=0.25, random_state=seed, axis_labels={2: "channels"})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        (found,) = method.explain(
            run,
            np.ones((1, count, 1), np.float32),
            labels=[1],
            num_samples=evaluations,
            num_features=count,
            return_masks=False,
            hide_color=0,
            segmentation_fn=lambda _: np.arange(count)[None],
        )
    return np.asarray(found, np.float64).reshape(-1)[:count]


def dianna_shap(ask: Ask, count: int, evaluations: int, seed: int) -> Floats:
    """DIANNA's KernelSHAP, likewise; it insists on an ONNX file, which is never asked here."""
    from dianna.methods.kernelshap_image import KERNELSHAPImage
    from onnx import TensorProto, helper, save

    class OfPixels(KERNELSHAPImage):  # type: ignore[misc]  # it has no types
        @staticmethod
        def _segment_image(*_arguments: Any, **_options: Any) -> NDArray[np.int64]:
            return np.arange(count)[None] + 1  # it paints the first superpixel's value where there is a 1

        def _runner(self, features: NDArray[Any]) -> Floats:
            return ask(np.asarray(features, np.uint8))[:, None]

    same = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1, count, 1]) for name in "xy")
    np.random.seed(seed)  # noqa: NPY002
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path = Path(folder) / "identity.onnx"
        graph = helper.make_graph([same], "identity", [x], [y])
        save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), str(path))
        method = OfPixels(axis_labels={2: "channels"})
        picture = np.ones((1, count, 1), np.float32)
        (found,) = method.explain(str(path), picture, labels=[0], nsamples=evaluations - 2)
    return np.asarray(found, np.float64).reshape(-1)[:count]
