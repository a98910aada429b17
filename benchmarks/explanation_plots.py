"""Draws EXPLANATIONS.md: error against evaluations, evidence on what was planted, and the field's yardsticks.

    python benchmarks/explanation_plots.py [--page benchmarks/EXPLANATIONS.md] [--quick]

Every number comes from the tables of the page; `explanations.py` draws it when it has written them. The picture lies
beside the page, under its name, as SVG; ``--quick`` writes none.
"""

import re
from io import BytesIO
from pathlib import Path
from typing import IO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common import Options

OURS = {"SHAP, ours": "#1b6e4f", "LIME, ours": "#2f6db5"}
OTHERS = {"SHAP, ours": ("shap", "Shap", "SHAP"), "LIME, ours": ("lime", "Lime", "LIME")}
GREY = "#8a8a8a"
APART = 1.35  # between two names, of an error
YARDSTICKS = ("insertion (more is better)", "deletion (less is better)", "ROAD (less is better)")
INTERVAL = re.compile(r"(-?\d+\.\d+) \((-?\d+\.\d+) to (-?\d+\.\d+)\)")
Row = dict[str, str]


def tables(page: str) -> dict[str, list[Row]]:
    """Rows of the first table of each section, by its heading; a row is a cell by column."""
    found = {}
    for section in page.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        head, *rows = ([cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines)
        found[title] = [dict(zip(head, row, strict=True)) for row in rows[1:]]
    return found


def interval(cell: str) -> tuple[float, float, float] | None:
    """The value of a cell with its interval; None where there is none."""
    found = INTERVAL.match(cell)
    return (float(found[1]), float(found[2]), float(found[3])) if found else None


def errors(axes: Axes, rows: list[Row], ours: str) -> None:
    """Error against evaluations, ours in colour and the others grey, each named at its end."""
    names = [name for name in dict.fromkeys(row["method"] for row in rows) if any(w in name for w in OTHERS[ours])]
    ends = {}
    for name in sorted(names, key=lambda each: each in OURS):
        mine = [row for row in rows if row["method"] == name]
        points = [(int(row["evaluations"]), interval(row["error (less is better)"])) for row in mine]
        counts, values, low, high = zip(*((count, *found) for count, found in points if found), strict=True)
        colour, wide = OURS.get(name, GREY), 2.2 if name in OURS else 1.1
        axes.plot(counts, values, color=colour, linewidth=wide, marker="o", markersize=3)
        if name in OURS:
            axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
        ends[name] = (counts[-1], values[-1])
    lowest = 0.0
    for name, (count, value) in sorted(ends.items(), key=lambda item: item[1][1]):
        lowest = max(value, lowest * APART)  # names do not lie on each other
        axes.text(1.15 * count, lowest, name, va="center", color=OURS.get(name, GREY), fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(50, 10_000)
    axes.set_xticks([64, 128, 256, 1000], ["64", "128", "256", "1,000"])
    axes.minorticks_off()
    axes.set_xlabel("evaluations of the network")
    axes.set_title(f"Error against the exact answer, 12 superpixels: {ours[:4]}", loc="left")


def bars(axes: Axes, rows: list[Row], name: str, column: str, title: str) -> None:
    """A dot with its interval for each row, the first row at the top."""
    known = [(row[name], found) for row in rows if (found := interval(row[column]))]
    for place, (_, (value, low, high)) in enumerate(known):
        axes.plot([low, high], [place, place], color=GREY, linewidth=1.2)
        axes.plot([value], [place], "o", color="#1b6e4f", markersize=5)
    axes.set_yticks(range(len(known)), [each for each, _ in known])
    axes.invert_yaxis()
    axes.set_title(title, loc="left")


def draw(page: Path, out: Path | IO[bytes]) -> None:
    """Draw a page, as SVG."""
    found = tables(page.read_text("utf-8"))
    mpl.rcParams.update({"svg.hashsalt": "explanations", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(11, 10), layout="constrained")
    grid = figure.subplots(3, 2)
    for axes, ours in zip(grid[0], OURS, strict=True):
        errors(axes, found["Held to exact answers"], ours)
    planted = [row for row in found["Planted evidence"] if row["planted"] == "consolidation"]
    bars(grid[1][0], planted, "method", "share of the map on it", "Share of the map on a planted consolidation")
    maps = found["Insertion, deletion, ROAD, randomisation"]
    for axes, column in zip((grid[1][1], *grid[2]), YARDSTICKS, strict=True):
        bars(axes, maps, "method", column, column.replace("insertion", "Insertion").replace("deletion", "Deletion"))
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, format="svg", metadata={"Date": None})


def main() -> None:
    """Draw, and say where."""
    options = Options(__doc__)
    options.add_argument("--page", type=Path, default=Path(__file__).with_name("EXPLANATIONS.md"))
    arguments = options.read()
    out = arguments.page.with_suffix(".svg")
    draw(arguments.page, BytesIO() if arguments.quick else out)
    print(f"drew {out.name}")


if __name__ == "__main__":
    main()
