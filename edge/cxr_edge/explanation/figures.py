"""What a person sees of an explanation: one figure and single pictures, in a folder that is written whole or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError, OutputError
from cxr_edge.explanation import CAM_NAMES, Fill, rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.explanation.hiding import put_to_the_test
from cxr_edge.explanation.lime import LimeExplanation, SuperpixelExplanation
from cxr_edge.explanation.lungs import Evidence
from cxr_edge.explanation.rendering import BgrImage, Line, Panel, to_png
from cxr_edge.files import MARKER, write_atomically
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.decision import UNSURE
from cxr_edge.results.output import PRIVATE, file_mode, output_place
from cxr_edge.results.record import RESEARCH_USE, to_record

RECORD = "explanation.json"
PICTURE_NAMES = ("figure.png", "gradcam.png", "lime-region.png", "lime-whole.png", "lime-pros-cons.png", "shap.png")
"""Every picture that `draw` may give."""
_OURS = frozenset({MARKER, RECORD, *PICTURE_NAMES})
_BY_THE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@contextmanager
def explanation_folder(out: Path, path: Path, *, mode: int = PRIVATE, force: bool = False) -> Iterator[Path]:
    """Take the folder of an input's explanation while it is made; given back if nothing was written.

    Args:
        out: The output folder; made if it is missing.
        path: The input.
        mode: Permissions of the folders that are made.
        force: Whether an explanation that is there already is replaced.

    Yields:
        The folder, see `output_place`.

    Raises:
        InputError: It holds an explanation already, or what this program did not write.
        OutputError: It cannot be made.
    """
    folder = output_place(out, path, mode=mode)
    present = {each.name for each in folder.iterdir()} - {MARKER} - _BY_THE_SYSTEM
    if foreign := sorted(present - _OURS):
        problem = (
            f"its folder {folder} holds {foreign[0]}, which this program did not write, so that it is not replaced"
        )
        raise InputError(problem, kind="exists", cure="move that, or take another folder with --out", path=path)
    if present and not force:
        problem = f"explained already in {folder}, which is not replaced"
        raise InputError(problem, kind="exists", cure="take --force, or another folder with --out", path=path)
    try:
        yield folder
    finally:
        if {each.name for each in folder.iterdir()} == {MARKER}:
            shutil.rmtree(folder, ignore_errors=True)


def write_explanation(explanation: Explanation, folder: Path) -> None:
    """Draw an explanation into its folder, and replace what is there as a whole.

    The files are written into a hidden folder beside it, which then takes its place: pictures of two radiographs never
    lie together, and a crash leaves the former explanation or the new one.

    Args:
        explanation: What to write.
        folder: From `explanation_folder`.

    Raises:
        OutputError: There is no space, no permission, or the folder is gone.
    """
    beside: Path | None = None
    try:
        beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        new, former = beside / "new", beside / "former"
        new.mkdir()
        new.chmod(folder.stat().st_mode & 0o7777)
        mode = file_mode(new)
        with suppress(FileNotFoundError):  # a folder of the first release has no mark; its record says whose it is
            write_atomically(new / MARKER, (folder / MARKER).read_bytes(), mode=mode)
        files = {}
        for name, picture in draw(explanation):
            write_atomically(new / name, to_png(picture), mode=mode)
            files[name] = name
        record = to_record(explanation.answer, explanation=explanation.to_part(files), research_use=True)
        text = json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n"
        write_atomically(new / RECORD, text.encode("ascii"), mode=mode)
        folder.rename(former)
        try:
            new.rename(folder)
        except OSError:
            former.rename(folder)
            raise
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise OutputError(problem, cure="check its permissions and the space left", path=folder) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


_TINTED = "Green raises it, hatched red lowers it, clear where the 95 % interval holds 0; numbers give the rank."
_FILLS: dict[Fill, str] = {"mean": "their mean grey level", "blur": "a blurred copy", "black": "black"}
_PANEL = (640, 1000)  # longer side of a panel of the figure: text stays legible, the figure stays openable
_SINGLE = (448, 4096)  # of a single picture: its own resolution almost always


def draw(explanation: Explanation) -> Iterator[tuple[str, BgrImage]]:
    """Draw every picture of an explanation.

    Yields:
        File name and BGR uint8 [height, width, 3]: ``figure.png`` (original, Grad-CAM, LIME, SHAP side by side), then
        ``gradcam.png`` (heat map over the radiograph), ``lime-region.png`` (the leading superpixels that speak for the
        target, all else hidden), ``lime-whole.png`` (the same, outlined on the whole picture),
        ``lime-pros-cons.png`` (for in green, against in hatched red) and ``shap.png`` (the same for all Shapley
        values), as far as they were asked for.
    """
    saliency, lime, shap = explanation.saliency, explanation.lime, explanation.shap
    yield "figure.png", draw_figure(explanation)

    picture, factor = rendering.grey_picture(explanation.answer.radiograph, smallest=_SINGLE[0], largest=_SINGLE[1])
    if saliency is not None:
        caption = _caption(explanation, saliency, (), factor)
        yield "gradcam.png", rendering.compose([_heat_panel(picture, saliency, explanation.evidence)], caption)
    if lime is not None:
        for name, panel, note in _lime_singles(picture, lime):
            yield name, rendering.compose([panel], _caption(explanation, None, (lime,), factor, note=note))
    if shap is not None:
        caption = _caption(explanation, None, (shap,), factor, note=_TINTED)
        yield "shap.png", rendering.compose([_tint_panel(picture, shap)], caption)


def draw_figure(explanation: Explanation, *, archived: bool = False) -> BgrImage:
    """Draw the original, unless ``archived`` beside it, and every map side by side: BGR uint8 [height, width, 3].

    The caption of an archived figure is the same on every machine, whatever the file is called.
    """
    saliency, superpixels = explanation.saliency, (explanation.lime, explanation.shap)
    picture, factor = rendering.grey_picture(explanation.answer.radiograph, smallest=_PANEL[0], largest=_PANEL[1])
    panels = [] if archived else [Panel(picture, "Original")]
    if saliency is not None:
        panels.append(_heat_panel(picture, saliency, explanation.evidence))
    panels.extend(_tint_panel(picture, each) for each in superpixels if each is not None)
    caption = _caption(explanation, saliency, superpixels, factor, note=_TINTED, archived=archived)
    return rendering.compose(panels, caption)


def _heat_panel(picture: BgrImage, saliency: SaliencyMap, evidence: Evidence | None) -> Panel:
    drawn = rendering.heat(picture, saliency.upsample(*picture.shape[:2]))
    if evidence is not None and not evidence.outline.implausible:
        lungs = rendering.enlarge_mask(evidence.outline.mask, *picture.shape[:2])
        drawn = rendering.outline(drawn, lungs, rendering.LUNG, thin=True)
    drawn = rendering.cell(drawn, *saliency.raw.shape)
    title = f"{CAM_NAMES[saliency.method]} for {saliency.target}"
    return Panel(drawn, title, rendering.heat_bar(), ("peak", "0"))


def _tint_panel(picture: BgrImage, lime: SuperpixelExplanation) -> Panel:
    largest = float(np.abs(lime.coefficients).max())
    ends = (f"+{largest:.2g}", f"-{largest:.2g}")
    unit = "log-odds" if lime.score == "logodds" else "probability"
    return Panel(
        draw_lime(picture, lime), f"{lime.method.upper()} for {lime.target} ({unit})", rendering.tint_bar(), ends
    )


def draw_lime(picture: BgrImage, lime: SuperpixelExplanation, labels: NDArray[np.int32] | None = None) -> BgrImage:
    """Tint every superpixel whose interval excludes 0; the leading ones are outlined and numbered by rank.

    Args:
        picture: BGR uint8 [height, width, 3].
        lime: What to draw on it.
        labels: Its superpixels, int32 [height, width], where they were enlarged already.
    """
    labels = rendering.enlarge_labels(lime.superpixels.labels, *picture.shape[:2]) if labels is None else labels
    largest = float(np.abs(lime.coefficients).max()) or 1.0
    drawn = rendering.tint(picture, np.where(_sure(lime), lime.coefficients / largest, 0.0).astype(np.float32)[labels])
    for rank, index in enumerate(lime.ranking[: lime.top], start=1):
        if lime.coefficients[index]:
            region = labels == index
            colour = rendering.PRO if lime.coefficients[index] > 0 else rendering.CON
            drawn = rendering.number(rendering.outline(drawn, region, colour), region, str(rank))
    return drawn


def _sure(lime: SuperpixelExplanation) -> NDArray[np.bool_]:
    """Say of each superpixel whether the 95 % interval of its coefficient excludes 0."""
    low, high = lime.intervals.T
    return (low > 0) | (high < 0)


def _lime_singles(picture: BgrImage, lime: LimeExplanation) -> Iterator[tuple[str, Panel, str]]:
    labels = rendering.enlarge_labels(lime.superpixels.labels, *picture.shape[:2])
    leaders = [index for index in lime.ranking if lime.coefficients[index] > 0][: lime.top]
    region: NDArray[np.bool_] = np.isin(labels, leaders)
    hidden = np.where(region[:, :, None], picture, np.uint8(0))
    note = f"Shown: the up to {lime.top} superpixels that raise it most."
    yield "lime-region.png", Panel(hidden, f"LIME for {lime.target}: leading superpixels only"), note
    whole = rendering.outline(picture, region, rendering.PRO)
    note = f"Outlined: the up to {lime.top} superpixels that raise it most."
    yield "lime-whole.png", Panel(whole, f"LIME for {lime.target}: leading superpixels"), note
    signs = np.zeros(lime.superpixels.count, np.float32)
    leaders = [index for index in lime.ranking[: 2 * lime.top] if _sure(lime)[index]]
    signs[leaders] = np.sign(lime.coefficients[leaders]) * 0.6
    title = f"LIME: for {lime.target} green, against it red and hatched"
    note = f"Coloured: the {2 * lime.top} leading superpixels, less those whose 95 % interval holds 0."
    yield "lime-pros-cons.png", Panel(rendering.tint(picture, signs[labels]), title), note


def _caption(
    explanation: Explanation,
    saliency: SaliencyMap | None,
    superpixels: Sequence[SuperpixelExplanation | None],
    factor: float,
    *,
    note: str = "",
    archived: bool = False,
) -> list[Line]:
    prediction, bundle = explanation.answer.prediction, explanation.answer.bundle
    positive = bundle.manifest.positive
    called = f"called {positive} from {_probability(prediction.certain_from)} on"
    if prediction.certain_from > prediction.threshold:
        called += f", {UNSURE} from {_probability(prediction.threshold)} on"
    probability = f"calibrated probability of {positive} {_probability(prediction.probability)}"
    headline = f"{prediction.label}: {probability}, {called} (operating point {prediction.operating_point})"
    lines = [Line(headline, "headline"), Line(_source(explanation.answer.radiograph, factor, named=not archived))]
    lines.extend(Line(f"Warning: {warning}", "warning") for warning in explanation.warnings)
    key = " White line: the lungs." if saliency is not None else ""
    if (evidence := explanation.evidence) is not None:
        lines.extend(Line(said) for said in (evidence.place, evidence.sentence and evidence.sentence + key) if said)
    maps = {each.method for each in (saliency, *superpixels) if each is not None}
    if hidden := [each for each in explanation.hidden if each.by in maps]:
        lines.append(Line(put_to_the_test(hidden, prediction.probability, say=_probability)))
    if saliency is not None:
        lines.append(Line(_saliency_caption(saliency)))
    lines.extend(Line(_superpixel_caption(each, note)) for each in superpixels if each is not None)
    network = f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]})"
    lines.append(Line(f"Made by {network}, {prediction.precision}{'' if archived else f' on {prediction.provider}'}."))
    lines.insert(0 if archived else len(lines), Line(RESEARCH_USE, "warning" if archived else "plain"))
    return lines


def _saliency_caption(saliency: SaliencyMap) -> str:
    rows, columns = saliency.raw.shape
    what = f"{len(saliency.layers)} convolutional maps, down to" if saliency.layers else "a convolutional map of"
    where = f"{CAM_NAMES[saliency.method]}: {what} {rows} x {columns} cells"
    square = "The square in the corner is one cell, the finest that it can show."
    if saliency.peak == 0:
        return f"{where} speaks for {saliency.target} nowhere. {square}"
    scale = "each layer scaled to its peak" if saliency.layers else f"scaled to its peak, {saliency.peak:.3g}"
    return f"{where}, coloured where it speaks for {saliency.target}; {scale}. {square}"


def _superpixel_caption(explained: SuperpixelExplanation, note: str) -> str:
    name = f"LIME ({explained.mode})" if isinstance(explained, LimeExplanation) else "SHAP"
    if explained.stopped == "flat":
        return f"{name}: hiding a superpixel changes nothing; nothing to explain."
    unit = "log-odds" if explained.score == "logodds" else "probability"
    what = f"change of the {unit} of {explained.target} when a superpixel is shown"
    if name == "SHAP":
        what = f"share of each superpixel in the {unit} of {explained.target} (Shapley value)"
    certainty = (
        "all combinations, exact"
        if explained.stopped == "exact"
        else f"another run is expected to name {explained.stability:.0%} of the top {explained.top} again"
    )
    short = " (sample limit, stability asked for not reached)" if explained.stopped == "limit" else ""
    other = ""
    if change := explained.change:
        other = f" Hidden by {_FILLS[change.fill]}, {change.overlap:.0%} of the top {explained.top} are the same."
    return (
        f"{name}: {what}. {note} "
        f"{explained.estimate.samples} samples of {explained.superpixels.count} superpixels{short}, "
        f"R2 {explained.estimate.r_squared:.2f}, {certainty}, hidden by {_FILLS[explained.fill]}, "
        f"seed {explained.seed}.{other}"
    )


def _source(radiograph: Radiograph, factor: float, *, named: bool) -> str:
    """Name the file, so that pictures of two patients cannot be mixed up; its name alone, no folder and no patient."""
    height, width = radiograph.pixels.shape
    path = radiograph.source.path if named else None
    scale = "at its own resolution" if factor == 1.0 else f"at {factor:.3g} times its size"
    return f"{f'File {path.name}: ' if path else ''}{width} x {height} pixels, shown {scale}."


def _probability(value: float) -> str:
    """Three decimals, but never a certainty that was not computed."""
    return "> 0.999" if value > 0.9995 else "< 0.001" if value < 0.0005 else f"{value:.3f}"
