"""Grad-CAM and LayerCAM by the metrics of the `quantus` collection, on the same weights in PyTorch.

    python benchmarks/quantus_maps.py [--radiographs 8] [--quick]

Pixel flipping and ROAD by the collection's own implementation (Hedström et al. 2023); and how a map changes where the
network's parameters are randomised: the efficient test (all at once; how much the complexity of the map grows) and the
smooth one (layer by layer, maps averaged over noisy inputs; rank correlation with the map of the trained network, near
0 is right), both by Hedström et al. 2024. The maps are computed by PyTorch from the same weights; how far they are
from those of the program is printed. Without PyTorch and quantus, nothing is measured, and that is said.
"""

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import Image, inputs_of, mean_interval, model_for, parser, table, with_layercam
from peers.network import Network

NEEDED = ("torch", "quantus")
POSITIVE = "PNEUMONIA"


def activations(module: Any, pixels: Any) -> tuple[list[Any], Any]:
    """The activations that end each resolution, coarse to fine, and the two logits."""
    import torch

    kept: dict[int, Any] = {}
    value = pixels[:, None] + module.offset
    for step in module.body:
        value = step(value)
        if step[1].groups == 1:
            kept[value.shape[2]] = value
    logits = module.logits(torch.relu(module.hidden(value.mean((2, 3)))))
    return [kept[height] for height in sorted(kept)[:3]], logits


def maps_of(module: Any, images: Image, labels: NDArray[Any], method: str) -> NDArray[np.float32]:
    """What a method gives for the labels: [n, height, width], each divided by its peak."""
    import torch

    layers, logits = activations(module, torch.from_numpy(np.ascontiguousarray(images, np.float32)))
    signs = torch.from_numpy(np.where(labels == 1, 1.0, -1.0).astype(np.float32))
    gradients = torch.autograd.grad(((logits[:, 1] - logits[:, 0]) * signs).sum(), layers)
    if method == "Grad-CAM":
        layers, gradients = layers[:1], [gradients[0].mean((2, 3), keepdim=True)]
    found = []
    for layer, gradient in zip(layers, gradients, strict=True):
        weights = gradient if method == "Grad-CAM" else torch.relu(gradient)
        cells = torch.relu((weights * layer).sum(1, keepdim=True))
        cells = cells / cells.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
        found.append(torch.nn.functional.interpolate(cells, images.shape[1:], mode="bilinear", align_corners=False))
    return np.asarray(torch.stack(found).amax(0)[:, 0].detach().numpy(), np.float32)


def of_channels(module: Any) -> Any:
    """The module behind a channel axis, as the collection wants it."""
    import torch

    class Channels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, inputs: Any) -> Any:
            return self.inner(inputs[:, 0])

    return Channels().eval()


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 8, quick=1)
    options.number("--noisy", 10, quick=1, help="noisy copies for the smooth test")
    arguments = options.read()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"not measured: {', '.join(missing)} not installed (benchmarks/peers/requirements-explanations.txt)")
        return
    import quantus
    import torch

    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    model = with_layercam(model_for(arguments, gate=False))
    images = np.stack(inputs_of(arguments.data.spread(arguments.radiographs)))
    labels = np.array([each.explained_label == POSITIVE for each in model.classifier.predict(images)], np.int64)
    network = of_channels(Network(model.bundle).torch)
    rows = []
    for method in ("Grad-CAM", "LayerCAM"):

        def explain(model: Any, inputs: Any, targets: Any, method: str = method, **_: Any) -> NDArray[np.float32]:
            return maps_of(model.inner, np.asarray(inputs)[:, 0], np.asarray(targets), method)[:, None]

        batch: dict[str, Any] = {"model": network, "x_batch": images[:, None], "y_batch": labels, "device": "cpu"}
        found = explain(network, batch["x_batch"], labels)
        off = furthest_from_ours(model, images, labels, method, found[:, 0])
        quiet: dict[str, Any] = {"disable_warnings": True, "display_progressbar": False}
        step = images[0].size // 28
        flipped = quantus.PixelFlipping(features_in_step=step, perturb_baseline="mean", **quiet)(**batch, a_batch=found)
        road = quantus.ROAD(percentages=[10, 20, 40], **quiet)(**batch, a_batch=found)
        smooth = quantus.SmoothMPRT(
            nr_samples=arguments.noisy, return_last_correlation=True, layer_order="top_down", **quiet
        )(**batch, explain_func=explain)
        efficient = quantus.EfficientMPRT(**quiet)(**batch, explain_func=explain)
        area = np.asarray(flipped, np.float64).reshape(len(images), -1).mean(axis=1)
        rows.append(
            [
                method,
                f"{off:.1e}",
                shown(area),
                f"{np.mean(list(road.values()) if isinstance(road, dict) else road):.3f}",
                shown(np.asarray(smooth, np.float64).ravel()),
                shown(np.asarray(efficient, np.float64).ravel()),
            ]
        )
        print(f"{method} done", flush=True)
    header = ["method", "furthest from the program's map", "pixel flipping, area (less is better)"]
    header += ["ROAD, share still answered so (less is better)", "smooth randomisation (0 is right)"]
    table([*header, "efficient randomisation (more is better)"], rows)
    print(f"{len(images)} test radiographs, quantus {quantus.__version__}, PyTorch {torch.__version__}")


def furthest_from_ours(model: Any, images: Image, labels: NDArray[Any], method: str, found: Image) -> float:
    """Largest difference from the program's map, of its peak."""
    names = model.bundle.manifest.labels
    positive = model.bundle.manifest.positive
    negative = next(name for name in names if name != positive)
    worst = 0.0
    for image, label, by_torch in zip(images, labels, found, strict=True):
        target = positive if label else negative
        if method == "Grad-CAM":
            (prediction,) = model.classifier.predict(image[None])
            ours = model.explainer.gradcam.explain(prediction.features, target)
            worst = max(worst, float(np.abs(ours.upsample(*image.shape) - by_torch).max()))
        else:
            maps = model.explainer.layercam.explain(image, target)
            rough = np.max(
                [type(maps)(each, "layercam", target).upsample(*image.shape) for each in maps.layers], axis=0
            )
            worst = max(worst, float(np.abs(rough - by_torch).max()))
    return worst


def shown(values: NDArray[np.float64]) -> str:
    """Mean with its interval."""
    mean, low, high = mean_interval(values.tolist())
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
