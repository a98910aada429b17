"""How much of a map lies on evidence whose place is known, because it was put there?

    python benchmarks/planted_evidence.py [--radiographs 30] [--quick]

Consolidation: the lower half of one lung of a test radiograph with pneumonia is pasted into the same lung of a
radiograph without, by Poisson blending (Pérez et al. 2003; `cv2.seamlessClone`), within the lung's outline that people
drew. Only pairs count where that raises the log-odds of PNEUMONIA by 1 or more: there it is what speaks for it.
Marker: a bright square in the cell of a corner, and a network whose answer is arithmetic: it adds up how much brighter
the middle of every 32 x 32 cell is than its border.
Cheat: the shipped network with a head that was fitted anew (linear discriminant with shrunk covariance, Ledoit and Wolf
2004) to tell training radiographs with pasted rings in a corner from the same ones without. How well it tells test
radiographs is printed. Below an AUROC of 0.9 it rests on much else, so that a map need not lie on the rings, and none
is judged; above, those radiographs count where the rings raise its log-odds by 1 or more. (Of a bright square of 16 x
16 pixels, or a chequered one of 28 x 28, the last features hold no trace that such a head could find.)
All: the share of the map's positive part on what was planted, against its share of the picture, and how often the
map's peak lies on it (the pointing game, Zhang et al. 2018). 95 % bootstrap intervals over patients.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import cxr_edge
from common import ROOT, Image, by_patient, inputs_of, mean_interval, model_for, parser, share, table, with_layercam
from cxr_edge import LimeOptions, Model
from cxr_edge.explanation.lungs import inside_share
from cxr_edge.prediction.classifier import Classifier

Mask = NDArray[np.bool_]
RISE = 1.0
PATCH = 32
RINGS, CORNER = 64, 1
CHEATS_FROM = 0.9
POSITIVE = "PNEUMONIA"


@dataclass(frozen=True, eq=False)
class Planted:
    """A radiograph with evidence whose place is known.

    Attributes:
        file: The radiograph.
        image: What the network takes, with the evidence.
        place: Where that is.
    """

    file: Path
    image: Image
    place: Mask


def maps(model: Model, image: Image, samples: int | None) -> dict[str, NDArray[np.floating]]:
    """What every method gives for PNEUMONIA, by pixel."""
    explainer = model.explainer
    (prediction,) = model.classifier.predict(image[None])
    options = LimeOptions(samples=samples)
    lime, shap = (each.explain(image, POSITIVE, options) for each in (explainer.lime, explainer.shapley))
    return {
        "Grad-CAM": explainer.gradcam.explain(prediction.features, POSITIVE).upsample(*image.shape),
        "HiResCAM": explainer.layercam.hirescam(image, POSITIVE).upsample(*image.shape),
        "LayerCAM": explainer.layercam.explain(image, POSITIVE).upsample(*image.shape),
        "LIME": lime.superpixels.spread(lime.coefficients),
        "SHAP": shap.superpixels.spread(shap.coefficients),
    }


def lower_half(lungs: NDArray[np.uint8], side: int) -> Mask | None:
    """The lower half of the lung on one side of a mask drawn by people; None where it is not there."""
    _, parts, stats, centres = cv2.connectedComponentsWithStats((lungs == 255).astype(np.uint8))
    large = [number for number in range(1, len(stats)) if stats[number, cv2.CC_STAT_AREA] > 0.03 * lungs.size]
    if len(large) != 2:
        return None
    lung = parts == sorted(large, key=lambda number: centres[number][0])[side]
    rows = np.flatnonzero(lung.any(axis=1))
    lung[: (rows[0] + rows[-1]) // 2] = False
    return lung


def pasted(image: Image, place: Mask, other: Image, source: Mask) -> Image:
    """Another patient's half lung, stretched to the place and blended in."""

    def box(mask: Mask) -> tuple[int, int, int, int]:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1

    top, bottom, left, right = box(place)
    up, down, west, east = box(source)
    patch = cv2.resize(other[up:down, west:east], (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    whole = image.copy()
    whole[top:bottom, left:right] = patch
    colours = [cv2.cvtColor(each.astype(np.uint8), cv2.COLOR_GRAY2BGR) for each in (whole, image)]
    centre = (left + right) // 2, (top + bottom) // 2
    inner = place.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False  # the blending wants a border
    mask = np.zeros(image.shape, np.uint8)
    mask[inner] = 255
    # Brightness is what speaks for a consolidation: its mean comes along, its edge is blended.
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 4) * place
    blended = cv2.seamlessClone(colours[0], colours[1], mask, centre, cv2.MIXED_CLONE)[:, :, 0].astype(np.float32)
    return np.asarray(soft * np.maximum(whole, blended) + (1 - soft) * image, np.float32)


def consolidations(
    model: Model, healthy: list[Path], ill: list[Path], mask_of: Callable[[Path], Path]
) -> list[Planted]:
    """All pairs, in turn, whose paste raises the log-odds."""
    found = []
    masks = {file: cv2.imread(str(mask_of(file)), cv2.IMREAD_GRAYSCALE) for file in (*healthy, *ill)}
    for file, other in zip(healthy, [*ill] * (len(healthy) // max(1, len(ill)) + 1), strict=False):
        if masks[file] is None or masks[other] is None:
            continue
        image, donor = inputs_of([file, other])
        best: tuple[float, Planted] | None = None
        for here, there in product((0, 1), (0, 1)):
            place, source = lower_half(masks[file], here), lower_half(masks[other], there)
            if place is None or source is None:
                continue
            changed = pasted(
                image, place, donor if here == there else donor[:, ::-1], source if here == there else source[:, ::-1]
            )
            before, after = model.classifier.logodds(np.stack([image, changed]))
            if best is None or after - before > best[0]:
                best = float(after - before), Planted(file, changed, place)
        if best is not None and best[0] >= RISE:
            found.append(best[1])
    return found


def marked(image: Image, corner: int) -> tuple[Image, Mask]:
    """A bright square in the middle of the cell at one of four corners, and that cell."""
    row, column = (6 * PATCH * bit for bit in divmod(corner, 2))
    place = np.zeros(image.shape, bool)
    place[row : row + PATCH, column : column + PATCH] = True
    changed = image.copy()
    changed[row + 8 : row + 24, column + 8 : column + 24] = 250
    return changed, place


def arithmetic(folder: Path, threads: int) -> Model:
    """A network whose log-odds are the sum, over 32 x 32 cells, of what is brighter in a cell's middle than around."""
    sys.path.append(str(ROOT / "tests"))
    from tiny import TinyNetwork, write_tiny_bundle

    network = TinyNetwork()
    middle = np.zeros((PATCH, PATCH), bool)
    middle[8:24, 8:24] = True
    network.kernel[:] = 0
    network.kernel[0, 0] = np.where(middle, 1 / middle.sum(), -1 / (~middle).sum())
    network.hidden[:], network.hidden_bias[:] = 0, 0
    network.hidden[0, 0] = 100
    network.logits[:], network.logits_bias[:] = 0, (0, -4)
    network.logits[0, 1] = 1
    return with_layercam(
        cxr_edge.load(write_tiny_bundle(folder, network=network), provider="cpu", precision="fp32", threads=threads)
    )


def ringed(image: Image, corner: int) -> tuple[Image, Mask]:
    """Black and white rings in one of four corners, and their place."""
    row, column = ((image.shape[0] - RINGS) * bit for bit in divmod(corner, 2))
    place = np.zeros(image.shape, bool)
    place[row : row + RINGS, column : column + RINGS] = True
    down, across = np.indices((RINGS, RINGS)) - RINGS / 2
    changed = image.copy()
    changed[place] = (127.5 + 127.5 * np.sign(np.sin(np.hypot(down, across) / 1.5))).ravel()
    return changed, place


def cheating(model: Model, images: list[Image]) -> Model:
    """The network with a head that answers whether there are rings, fitted to some radiographs with and without."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    seen = np.concatenate([pooled(model, images), pooled(model, [ringed(image, CORNER)[0] for image in images])])
    head = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    head.fit(seen, np.repeat([0, 1], len(images)))
    weights, bias = head.coef_[0], float(head.intercept_[0])
    bundle = model.bundle
    for name in (bundle.manifest.precisions["fp32"].file, "gradcam.onnx"):
        bundle = bundle.with_network(name, with_head(bundle.model(name), weights, bias))
    return with_layercam(
        Model(Classifier(bundle, provider="cpu", threads=model.classifier.session.threads, gate=False))
    )


def pooled(model: Model, images: list[Image]) -> NDArray[np.float64]:
    """What the head takes: [n, channels]."""
    parts = [images[start : start + 16] for start in range(0, len(images), 16)]
    means = [model.classifier.evaluate(np.stack(part)).features.mean((1, 2)) for part in parts]
    return np.concatenate(means).astype(np.float64)


def with_head(network: bytes, weights: NDArray[np.float64], bias: float) -> bytes:
    """A network whose log-odds are linear in the pooled features: two hidden units count, w·p + b and its negative.

    Args:
        network: An ONNX file with a head of two dense layers and a ReLU between, or of its gradient.
        weights: [channels].
        bias: To be added.
    """
    graph = onnx.load_from_string(network)
    used = {name for node in graph.graph.node if node.op_type in {"Gemm", "MatMul"} for name in node.input}
    dense = [each for each in graph.graph.initializer if each.name in used]
    shapes = {tuple(each.dims) for each in dense if len(weights) in each.dims}
    (hidden,) = {size for shape in shapes for size in shape} - {len(weights)}
    first, offsets = np.zeros((len(weights), hidden)), np.zeros(hidden)
    first[:, 0], first[:, 1], offsets[:2] = weights, -weights, (bias, -bias)
    second = np.zeros((hidden, 2))
    second[:2, 1] = 1, -1
    new = {each.shape: each for each in (first, first.T, offsets, second, second.T, np.zeros(2))}
    for tensor in dense:
        tensor.CopyFrom(numpy_helper.from_array(new[tuple(tensor.dims)].astype(np.float32), tensor.name))
    return bytes(graph.SerializeToString())


def rows_of(what: str, model: Model, cases: list[Planted], samples: int | None) -> list[list[str]]:
    """One row for each method."""
    shares: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    for case in cases:
        for name, values in maps(model, case.image, samples).items():
            inside = inside_share(values, case.place)
            shares.setdefault(name, []).append(np.nan if inside is None else inside)
            peaks[name] = peaks.get(name, 0) + bool(case.place.ravel()[int(np.argmax(values))])
    files = [case.file for case in cases]
    area = float(np.mean([case.place.mean() for case in cases])) if cases else np.nan
    rows = []
    for name, each in shares.items():
        mean, low, high = mean_interval(by_patient(files, each))
        interval = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
        rows.append([what, name, f"{mean:.2f}{interval}", f"{mean / area:.1f}", share(peaks[name], len(cases))])
    return rows


def cheated(model: Model, taught: list[Path], files: list[Path]) -> tuple[Model, list[Planted]]:
    """A network that cheats, and the test radiographs that it falls for."""
    from sklearn.metrics import roc_auc_score

    network = cheating(model, inputs_of(taught))
    images = inputs_of(files)
    changed = [ringed(image, CORNER) for image in images]
    before, after = (
        np.array([float(network.classifier.logodds(each[None])[0]) for each in part])
        for part in (images, [image for image, _ in changed])
    )
    area = roc_auc_score(np.repeat([0, 1], len(files)), np.concatenate([before, after]))
    cases = [
        Planted(file, *each) for file, each, rise in zip(files, changed, after - before, strict=True) if rise >= RISE
    ]
    told = f"with rings from without: AUROC {area:.3f}"
    print(f"A head fitted on {len(taught)} radiographs tells {len(files)} others {told}")
    print(f"{len(cases)} of {len(files)} pasted rings raise its log-odds by {RISE:g} or more\n")
    if area < CHEATS_FROM:
        print(f"Below {CHEATS_FROM} it rests on more than the rings: no map of it is judged\n")
        return network, []
    return network, cases[: max(1, len(files) // 2)]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 30, quick=2)
    options.number("--taught", 1000, quick=4, help="training radiographs that the cheating head is fitted on")
    options.add_argument("--samples", type=int, default=None, help="of LIME and SHAP")
    arguments = options.read()
    samples = 32 if arguments.quick and arguments.samples is None else arguments.samples
    model = with_layercam(model_for(arguments, gate=False))
    files = arguments.data.spread(2 * arguments.radiographs)
    healthy = [file for file in files if file.parent.name == "NORMAL"]
    ill = [file for file in files if file.parent.name == POSITIVE]
    cases = consolidations(model, healthy, ill, arguments.data.mask_of)
    print(f"{len(cases)} of {len(healthy)} pasted half lungs raise the log-odds by {RISE:g} or more")
    rows = rows_of("consolidation", model, cases, samples)
    with TemporaryDirectory() as scratch:
        sum_of_cells = arithmetic(Path(scratch) / "arithmetic", arguments.threads)
    markers = []
    for number, (file, image) in enumerate(zip(healthy, inputs_of(healthy), strict=True)):
        changed, place = marked(image, number % 4)
        markers.append(Planted(file, changed, place))
    rows += rows_of("marker", sum_of_cells, markers, samples)
    rows += rows_of("cheat", *cheated(model, arguments.data.spread(arguments.taught, split="train"), files), samples)
    table(["planted", "method", "share of the map on it", "of its share of the picture", "peak on it"], rows)
    print(f"{len(healthy)} test radiographs without pneumonia")


if __name__ == "__main__":
    main()
