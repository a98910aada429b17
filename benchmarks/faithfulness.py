"""Do the maps show what the network uses? Insertion, deletion, a randomised network, and the human lung masks.

    python benchmarks/faithfulness.py [--radiographs 100] [--reference 1000] [--quick]

LayerCAM is made of the bundle's own classifier where the bundle has none.

Insertion and deletion (Petsiuk et al. 2018): the area under the probability of the predicted label (before calibration)
while the pixels are restored to a blurred copy, or blurred, in the order of the map. Randomised network (Adebayo et al.
2018): Spearman's rank correlation of a map with that of the same network with its convolution kernels shuffled; near 0
is right, near 1 means that the map shows the picture, not the network. Where one of the two maps is constant there is
no correlation; how often is printed. All intervals are 95 % bootstraps over radiographs. Lungs: the share of the
positive attribution that falls inside human-drawn masks, against the lungs' share of the area. `--reference 0` leaves
out LIME's reference mode, which takes most of the time.
"""

from collections.abc import Callable

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from common import LABELS, by_patient, inputs_of, mean_interval, model_for, parser, spearman, table, with_layercam
from cxr_edge import LimeOptions
from cxr_edge.api import Model
from cxr_edge.explanation.lime import SuperpixelExplanation
from cxr_edge.prediction.classifier import Classifier
from cxr_export.edits import fold_constants
from cxr_export.layercam import LAYERCAM_FILE, layercam_graph

Map = NDArray[np.float32]
CHANCE = "random 7 x 7 map"


def methods(reference: int) -> dict[str, Callable[[Model, Map, int], Map]]:
    """Input and number → attribution per pixel, by method."""

    def cam(method: str) -> Callable[[Model, Map, int], Map]:
        def run(model: Model, image: Map, _: int) -> Map:
            (prediction,) = model.classifier.predict(image[None])
            features, label = prediction.features, prediction.explained_label
            return model.explainer.gradcam.explain(features, label, method=method).upsample(*image.shape)

        return run

    def density(explained: SuperpixelExplanation) -> Map:
        sizes = np.bincount(explained.superpixels.labels.ravel())
        return explained.superpixels.paint((explained.coefficients / sizes).astype(np.float32))

    def fast(model: Model, image: Map, _: int) -> Map:
        return density(model.explainer.lime.explain(image, model.classifier.predict(image[None])[0].explained_label))

    def by_package(model: Model, image: Map, _: int) -> Map:
        label = model.classifier.predict(image[None])[0].explained_label
        return density(model.explainer.lime.explain(image, label, LimeOptions(mode="reference", samples=reference)))

    def chance(_: Model, image: Map, number: int) -> Map:
        coarse = np.random.default_rng(number).uniform(0, 1, (7, 7)).astype(np.float32)
        return np.asarray(cv2.resize(coarse, image.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)

    def layers(model: Model, image: Map, _: int) -> Map:
        label = model.classifier.predict(image[None])[0].explained_label
        return model.explainer.layercam.explain(image, label).upsample(*image.shape)

    def back(model: Model, image: Map, _: int) -> Map:
        label = model.classifier.predict(image[None])[0].explained_label
        return model.explainer.layercam.hirescam(image, label).upsample(*image.shape)

    def shapley(model: Model, image: Map, _: int) -> Map:
        return density(model.explainer.shapley.explain(image, model.classifier.predict(image[None])[0].explained_label))

    found = {"Grad-CAM": cam("gradcam"), "HiResCAM": back, "Grad-CAM++": cam("gradcam++"), "LayerCAM": layers}
    found |= {"LIME fast": fast, "SHAP": shapley}
    if reference:
        found["LIME reference"] = by_package
    found[CHANCE] = chance
    return found


def curves(model: Model, image: Map, attribution: Map, steps: int) -> tuple[float, float]:
    """Insertion and deletion area of one map."""
    blurred = cv2.GaussianBlur(image, (0, 0), 10)
    order = np.argsort(-attribution.ravel(), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    rank = rank.reshape(image.shape)
    cuts = np.linspace(0, order.size, steps + 1).astype(int)
    inserted = np.stack([np.where(rank < cut, image, blurred) for cut in cuts])
    deleted = np.stack([np.where(rank < cut, blurred, image) for cut in cuts])
    (prediction,) = model.classifier.predict(image[None])
    sign = 1 if prediction.explained_label == model.bundle.manifest.positive else -1
    areas = []
    for pictures in (inserted, deleted):
        scores = 1 / (1 + np.exp(-sign * model.classifier.logodds(pictures.astype(np.float32))))
        areas.append(float((scores[:-1] + scores[1:]).mean() / 2))
    return areas[0], areas[1]


def road(model: Model, image: Map, attribution: Map, number: int) -> float:
    """Mean probability of the predicted label, the leading pixels imputed from their neighbours."""
    order = np.argsort(-attribution.ravel(), kind="stable")
    pictures = []
    for part in (0.1, 0.2, 0.4):
        removed = np.zeros(order.size, bool)
        removed[order[: round(part * order.size)]] = True
        pictures.append(imputed(image, removed.reshape(image.shape), number))
    (prediction,) = model.classifier.predict(image[None])
    sign = 1 if prediction.explained_label == model.bundle.manifest.positive else -1
    return float((1 / (1 + np.exp(-sign * model.classifier.logodds(np.stack(pictures))))).mean())


def imputed(image: Map, removed: NDArray[np.bool_], number: int) -> Map:
    """Every removed pixel is the weighted mean of its eight neighbours (1/6 beside, 1/12 across) and a little noise."""
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import spsolve

    numbers = np.full(image.shape, -1)
    numbers[removed] = np.arange(removed.sum())
    total, known = np.zeros(removed.sum()), np.zeros(removed.sum())
    rows, columns, weights = [], [], []
    places = np.argwhere(removed)
    for down, right in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]:
        weight = 1 / 6 if 0 in (down, right) else 1 / 12
        y, x = places[:, 0] + down, places[:, 1] + right
        inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
        y, x = y.clip(0, image.shape[0] - 1), x.clip(0, image.shape[1] - 1)
        total += weight * inside
        unknown = inside & removed[y, x]
        known += np.where(inside & ~removed[y, x], weight * image[y, x], 0.0)
        rows.append(np.flatnonzero(unknown))
        columns.append(numbers[y, x][unknown])
        weights.append(np.full(int(unknown.sum()), weight))
    shape = (len(places), len(places))
    mixed = coo_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape).tocsr()
    scale = identity(len(places), format="csr").multiply(1 / total[:, None]).tocsr()
    values = spsolve(identity(len(places), format="csc") - (scale @ mixed).tocsc(), known / total)
    filled = image.copy()
    filled[removed] = values + np.random.default_rng(number).normal(0, 0.01 * 255, len(places))
    return np.clip(filled, 0, 255)


def randomised(model: Model) -> Model:
    """The same network with the weights inside every convolution shuffled."""
    name = model.bundle.manifest.precisions["fp32"].file
    graph = fold_constants(onnx.load_from_string(model.bundle.model(name)))
    random = np.random.default_rng(0)
    kernels = {node.input[1] for node in graph.graph.node if node.op_type == "Conv"}
    for tensor in graph.graph.initializer:
        if tensor.name in kernels:
            values = numpy_helper.to_array(tensor)
            shuffled = random.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    shuffled_network = graph.SerializeToString()
    bundle = model.bundle.with_network(name, shuffled_network)
    bundle = bundle.with_network(LAYERCAM_FILE, layercam_graph(shuffled_network)[0])
    return Model(Classifier(bundle, provider="cpu", threads=model.classifier.session.threads))


def rank_correlation(one: Map, other: Map) -> float:
    """Of two maps of pixels, at every eighth pixel, as they change no faster; NaN where one is constant."""
    return spearman(one[4::8, 4::8], other[4::8, 4::8])


def inside_lungs(attribution: Map, mask: Map) -> tuple[float, float]:
    """Share of the positive attribution inside the lungs, and the lungs' share of the area; NaN without any."""
    counted = mask != 127
    positive = np.maximum(attribution, 0)[counted]
    lungs = mask[counted] == 255
    return float(positive[lungs].sum() / positive.sum()) if positive.any() else np.nan, float(lungs.mean())


def shown(values: list[float], style: str = ".3f") -> str:
    """Mean with its interval."""
    mean, low, high = mean_interval(values)
    return f"{mean:{style}}" if np.isnan(low) else f"{mean:{style}} ({low:{style}} to {high:{style}})"


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 100, quick=2)
    options.number("--steps", 20, quick=3, help="of insertion and deletion")
    options.number("--reference", 1000, quick=0, help="samples of LIME's reference mode, 0 leaves it out")
    arguments = options.read()
    model = with_layercam(model_for(arguments))
    files = arguments.data.spread(arguments.radiographs)
    images = inputs_of(files)
    masks = [cv2.imread(str(arguments.data.mask_of(file)), cv2.IMREAD_GRAYSCALE) for file in files]
    shuffled = randomised(model)
    rows = []
    area: dict[str, list[float]] = {label: [] for label in LABELS}
    for name, run in methods(arguments.reference).items():
        insertion, deletion, removal, sanity = [], [], [], []
        shares: dict[str, list[float]] = {label: [] for label in LABELS}
        area = {label: [] for label in LABELS}
        for number, (file, image, mask) in enumerate(zip(files, images, masks, strict=True)):
            attribution = run(model, image, number)
            one, other = curves(model, image, attribution, arguments.steps)
            insertion.append(one)
            deletion.append(other)
            removal.append(road(model, image, attribution, number))
            if mask is not None:
                inside, lungs = inside_lungs(attribution, mask)
                shares[file.parent.name].append(inside)
                area[file.parent.name].append(lungs)
            if name != CHANCE:
                sanity.append(rank_correlation(attribution, run(shuffled, image, number)))
        constant = int(np.isnan(sanity).sum())
        correlation = shown(sanity, "+.2f") + (f", {constant} constant" if constant else "") if sanity else ""
        curves_of = [shown(by_patient(files, each)) for each in (insertion, deletion, removal)]
        rows.append([name, *curves_of, correlation, *(shown(shares[label]) for label in LABELS)])
        print(f"{name} done", flush=True)
    rows.append(["lungs' share of the area", "", "", "", "", *(shown(area[label]) for label in LABELS)])
    header = [
        "method",
        "insertion (more is better)",
        "deletion (less is better)",
        "ROAD (less is better)",
        "against a randomised network",
    ]
    table([*header, "inside the lungs, NORMAL", "inside the lungs, PNEUMONIA"], rows)
    print(f"{len(images)} test radiographs, attribution for the predicted label, 95 % bootstrap intervals")


if __name__ == "__main__":
    main()
