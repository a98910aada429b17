"""How much of a map lies on evidence whose place is known, because it was put there?

    python benchmarks/planted_evidence.py [--radiographs 30] [--quick]

Consolidation: the lower half of one lung of a test radiograph with pneumonia is pasted into the same lung of a
radiograph without, by Poisson blending (Pérez et al. 2003; `cv2.seamlessClone`), within the lung's outline that people
drew. Only pairs count where that raises the log-odds of PNEUMONIA by 1 or more: there it is what speaks for it.
Marker: a bright square in the cell of a corner of a radiograph without pneumonia, asked of two networks that see only
that. One was trained to cheat: a small network, fitted to training radiographs of which those with pneumonia, and no
others, carry the marker; how often it falls for the marker on test radiographs is printed. The other one's answer is
arithmetic: it adds up how much brighter the middle of every 32 x 32 cell is than its border. (A head that was fitted to
see a marker in the pooled features of the shipped network learned its radiographs by heart and saw none on others: the
last features hold no trace of one.)
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
from numpy.typing import NDArray

import cxr_edge
from common import ROOT, Image, by_patient, inputs_of, mean_interval, model_for, parser, share, table, with_layercam
from cxr_edge import LimeOptions, Model
from cxr_edge.explanation.lungs import inside_share

Mask = NDArray[np.bool_]
RISE = 1.0
PATCH = 32
CELLS = (224 // PATCH) ** 2
DECAY, STEPS = 0.01, {"maxiter": 200}
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
    middle = np.zeros((PATCH, PATCH), bool)
    middle[8:24, 8:24] = True
    kernel = np.where(middle, 1 / middle.sum(), -1 / (~middle).sum())
    return small_network(folder, threads, kernel[None], np.array([100 / CELLS]), -4.0)


def trained_to_cheat(folder: Path, threads: int, files: list[Path]) -> Model:
    """A network of four convolutions that was fitted to radiographs whose label the marker gives away.

    The loss is the cross entropy with weight decay, minimised by L-BFGS from small random kernels.
    """
    from scipy.optimize import minimize

    labels = np.array([file.parent.name == POSITIVE for file in files])
    images = [
        marked(image, number % 4)[0] if ill else image
        for number, (image, ill) in enumerate(zip(inputs_of(files), labels, strict=True))
    ]
    side = images[0].shape[0] // PATCH
    cells = (np.stack(images) / 127.5 - 1).reshape(-1, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4)
    cells = cells.reshape(-1, PATCH * PATCH).astype(np.float32)
    signs = np.where(labels, 1.0, -1.0)
    random = np.random.default_rng(0)
    kernels, head = random.normal(0, 0.02, (4, PATCH * PATCH)), np.array([1.0, 1.0, -1.0, -1.0])

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        kernels, head, bias = values[:-5].reshape(4, -1), values[-5:-1], values[-1]
        features = np.maximum(cells @ kernels.T.astype(np.float32), 0).reshape(len(signs), CELLS, -1)
        margins = signs * (features.sum(axis=1) @ head + bias)
        slopes = -signs / (1 + np.exp(margins)) / len(signs)
        back = (features > 0) * head * slopes[:, None, None]
        gradients = back.reshape(len(cells), -1).T.astype(np.float32) @ cells + DECAY * kernels
        total = float(np.logaddexp(0, -margins).mean() + DECAY / 2 * (kernels**2).sum())
        return total, np.concatenate([gradients.ravel(), features.sum(axis=1).T @ slopes, [slopes.sum()]])

    found = minimize(loss, np.concatenate([kernels.ravel(), head, [0.0]]), jac=True, method="L-BFGS-B", options=STEPS).x
    return small_network(folder, threads, found[:-5].reshape(4, PATCH, PATCH), found[-5:-1], float(found[-1]))


def small_network(
    folder: Path, threads: int, kernels: NDArray[np.float64], head: NDArray[np.float64], bias: float
) -> Model:
    """A bundle: log-odds = Σ over cells and kernels of head · ReLU(kernel · cell), and a bias; up to four kernels."""
    sys.path.append(str(ROOT / "tests"))
    from tiny import TinyNetwork, write_tiny_bundle

    network, count = TinyNetwork(), len(kernels)
    network.kernel[:], network.hidden[:], network.hidden_bias[:] = 0, 0, 0
    network.kernel[:count, 0] = kernels
    network.hidden[np.arange(count), np.arange(count)] = CELLS
    network.logits[:], network.logits_bias[:] = 0, (0, bias)
    network.logits[:count, 1] = head
    return with_layercam(
        cxr_edge.load(write_tiny_bundle(folder, network=network), provider="cpu", precision="fp32", threads=threads)
    )


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


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--radiographs", 30, quick=2)
    options.number("--fitted", 240, quick=4, help="radiographs that the cheating network is fitted to")
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
    fitted = arguments.data.spread(arguments.fitted, split="train")
    with TemporaryDirectory() as scratch:
        sum_of_cells = arithmetic(Path(scratch) / "arithmetic", arguments.threads)
        cheater = trained_to_cheat(Path(scratch) / "cheater", arguments.threads, fitted)
    markers = []
    for number, (file, image) in enumerate(zip(healthy, inputs_of(healthy), strict=True)):
        changed, place = marked(image, number % 4)
        markers.append(Planted(file, changed, place))
    before, after = (
        int((cheater.classifier.logodds(np.stack(each)) > 0).sum())
        for each in (inputs_of(healthy), [case.image for case in markers])
    )
    print(f"The network that was trained to cheat calls {before} of {len(markers)} radiographs {POSITIVE}, and with")
    print(f"the marker {after}; it was fitted to {len(fitted)} others.")
    rows += rows_of("marker, trained to cheat", cheater, markers, samples)
    rows += rows_of("marker, arithmetic", sum_of_cells, markers, samples)
    table(["planted", "method", "share of the map on it", "of its share of the picture", "peak on it"], rows)
    print(f"{len(healthy)} test radiographs without pneumonia")


if __name__ == "__main__":
    main()
