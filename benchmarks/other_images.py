"""Gathers pictures that are no chest radiographs, from what the installed packages ship and from what it draws itself.

python benchmarks/other_images.py OUT [--quick] writes OUT/<kind>/*.png|dcm for benchmarks/gate.py. Nothing is
downloaded, and none of it is used to set a gate. It needs scikit-image (extra lime), scikit-learn and matplotlib (extra
train).
"""

import inspect
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray

from common import Options
from cxr_edge import InputError, read_radiograph
from cxr_edge.prediction.preprocess import to_input

Picture = NDArray[np.uint8]
_CHESTS = {"CR", "DX"}  # modalities whose samples are chest radiographs, but for the leg below
_LEG = "RG3_"
_SKIMAGE = {
    "photographs": "astronaut camera chelsea coffee rocket horse motorcycle_left motorcycle_right clock_motion",
    "microscopy and eyes": "cell ihc retina microaneurysms",
    "sky": "hubble_deep_field moon",
    "textures": "brick grass gravel chessboard_GRAY chessboard_RGB coins",
    "documents": "page text",
    "drawings": "logo color phantom",
}


def from_skimage() -> Iterator[tuple[str, str, Picture]]:
    """Its sample images, and the 200 patches (100 of them faces) of its Labeled Faces in the Wild subset."""
    import skimage

    folder = Path(inspect.getfile(skimage)).parent / "data"
    for kind, names in _SKIMAGE.items():
        for name in names.split():
            for path in folder.glob(f"{name}.*"):
                image = cv2.imread(str(path))
                if image is not None:
                    yield kind, f"skimage-{name}", image
    patches = np.load(folder / "lfw_subset.npy")
    for row, patch in enumerate(patches[:100:2]):
        yield "faces", f"lfw-{row:03}", _levels(patch)


def from_sklearn() -> Iterator[tuple[str, str, Picture]]:
    """Two photographs, and 20 handwritten digits of 8x8 pixels."""
    from sklearn import datasets

    for name in ("china.jpg", "flower.jpg"):
        yield "photographs", f"sklearn-{name[:-4]}", datasets.load_sample_image(name)[:, :, ::-1]
    for row, digit in enumerate(datasets.load_digits().images[::90]):
        yield "handwriting", f"digit-{row:02}", _levels(cv2.resize(digit, (96, 96), interpolation=cv2.INTER_CUBIC))


def from_matplotlib() -> Iterator[tuple[str, str, Picture]]:
    """Its sample photograph and slices, and 32 plots of eight kinds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.cbook import get_sample_data

    for name in ("grace_hopper.jpg", "logo2.png", "Minduka_Present_Blue_Pack.png"):
        with get_sample_data(name, asfileobj=True) as file:
            image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
        yield ("photographs" if "hopper" in name else "drawings"), f"matplotlib-{name.split('.')[0]}", image
    rng = np.random.default_rng(1)
    for row in range(32):
        with plt.style.context(("default", "dark_background", "grayscale", "ggplot")[row // 8]):
            figure, axes = plt.subplots(figsize=(5, 5 - row % 3), dpi=90)
            _plot(axes, row % 8, rng)
            figure.canvas.draw()
            yield "plots", f"plot-{row:02}", np.asarray(figure.canvas.buffer_rgba())[:, :, 2::-1].copy()
            plt.close(figure)


def _plot(axes: Any, number: int, rng: np.random.Generator) -> None:
    x = np.linspace(0, 10, 200)
    walks = rng.normal(size=(3, 200)).cumsum(1)
    draw = [
        lambda: axes.plot(x, walks.T),
        lambda: axes.scatter(*rng.normal(size=(2, 300)), s=rng.uniform(5, 80, 300)),
        lambda: axes.bar(range(12), rng.uniform(1, 9, 12)),
        lambda: axes.imshow(rng.normal(size=(12, 12)), cmap="viridis"),
        lambda: axes.contourf(np.outer(np.sin(x), np.cos(x * rng.uniform(0.3, 2)))),
        lambda: axes.pie(rng.uniform(1, 9, 6), labels=list("abcdef")),
        lambda: axes.hist(rng.normal(size=(2000, 2)), bins=30),
        lambda: axes.boxplot(rng.normal(size=(100, 6))),
    ]
    draw[number]()
    axes.set_title(f"Figure {number}: something over time")


def drawn() -> Iterator[tuple[str, str, Picture]]:
    """Pages of text, noise of several colours, flat fields, ramps and shapes."""
    rng = np.random.default_rng(2)
    words = np.array(" ".join(inspect.getdoc(each) or "" for each in (np.ndarray, np.einsum, np.linalg.svd)).split())
    for row in range(24):
        page = np.full((700, 500 + 40 * (row % 6)), (255, 235, 20, 0)[row % 4], np.uint8)
        ink = 255 if page[0, 0] < 128 else 0
        for line in range(30, 680, 18 + 6 * (row % 4)):
            cv2.putText(
                page, " ".join(rng.choice(words, 9)), (20, line), row % 8, 0.4 + 0.1 * (row % 4), ink, 1, cv2.LINE_AA
            )
        yield "documents", f"page-{row:02}", page
    for row in range(24):
        white = rng.normal(size=(256, 256))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256))) + 1 / 256
        slope = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)[row % 6]
        coloured = np.fft.ifft2(np.fft.fft2(white) / frequency**slope).real
        yield "noise", f"noise-{row:02}", _levels(coloured if row < 12 else np.abs(coloured))
    for row, level in enumerate((0, 1, 60, 128, 200, 254, 255)):
        yield "flat", f"flat-{row}", np.full((300, 300), level, np.uint8)
    y, x = np.mgrid[0:1:300j, 0:1:300j]
    ramps = (x, y, x * y, np.hypot(x - 0.5, y - 0.5), np.sin(20 * x), np.sin(20 * x) * np.sin(20 * y), 1 - x, (x + y))
    for row, ramp in enumerate(ramps):
        yield "ramps", f"ramp-{row}", _levels(ramp)
    for row in range(16):
        image = np.full((320, 320), int(rng.integers(0, 256)), np.uint8)
        for _ in range(int(rng.integers(1, 12))):
            corner, size = rng.integers(0, 320, 2), rng.integers(10, 160, 2)
            grey, centre = int(rng.integers(0, 256)), tuple(map(int, corner))
            if row % 2:
                cv2.rectangle(image, centre, tuple(map(int, corner + size)), grey, -1)
            else:
                cv2.ellipse(image, centre, tuple(map(int, size)), float(rng.uniform(0, 180)), 0, 360, grey, -1)
        yield "shapes", f"shapes-{row:02}", image


def dicom_samples() -> Iterator[tuple[str, Path]]:
    """Pydicom's own samples of other modalities, and those of pydicom-data where that is there; no look-alikes."""
    folders = [Path(inspect.getfile(pydicom)).parent / "data" / "test_files"]
    try:
        import data_store
    except ImportError:
        pass
    else:
        folders.append(Path(inspect.getfile(data_store)).parent / "data")
    seen: list[NDArray[np.float32]] = []
    for path in sorted(path for folder in folders for path in folder.rglob("*.dcm")):
        try:
            radiograph = read_radiograph(path)
        except InputError:
            continue
        modality, small = radiograph.source.modality or "none", to_input(radiograph, height=24, width=24)
        leg = path.name.startswith(_LEG)
        if (modality in _CHESTS and not leg) or any(np.abs(small - other).mean() < 4 for other in seen):
            continue
        seen.append(small)
        yield ("DICOM leg radiograph" if leg else f"DICOM {modality}"), path


def _levels(values: NDArray[Any]) -> Picture:
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / ((high - low) or 1) * 255).astype(np.uint8)


def main() -> None:
    """Writes the folders and counts."""
    options = Options(__doc__)
    options.add_argument("out", type=Path)
    options.number("--most", 1000, quick=3, help="pictures of each source")
    arguments = options.read()
    out = arguments.out
    for source in (from_skimage, from_sklearn, from_matplotlib, drawn):
        for kind, name, image in islice(source(), arguments.most):
            (out / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / kind / f"{name}.png"), image)
    for kind, path in islice(dicom_samples(), arguments.most):
        (out / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / kind / path.name)
    for folder in sorted(out.iterdir()):
        print(f"{sum(1 for _ in folder.iterdir()):5} {folder.name}")


if __name__ == "__main__":
    main()
