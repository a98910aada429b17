"""The page for people: one HTML file that shows the pictures beside it and asks no other machine for anything."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from cxr_edge import __version__
from cxr_edge.files import open_atomically
from cxr_edge.report.summary import LatestRecords, Summary, bars
from cxr_edge.results.index import Description
from cxr_edge.results.output import PICTURES, assets_of, file_mode
from cxr_edge.results.record import COLUMNS, RESEARCH_USE, Row
from cxr_edge.text import printable

LISTED = 50_000  # answers, and as many refusals and failures: what a browser still opens at once
_CHART_HEIGHT = 72
_SCRIPT = ("rows.js", "gallery.js", "viewer.js", "detail.js", "start.js")


def write_page(path: Path, records: LatestRecords, summary: Summary, described: Description | None) -> None:
    """Write ``report.html``.

    The page lists every input; of more than `LISTED` answers those of the highest probability, and says so.

    Args:
        path: Where to, in the output folder.
        records: What is listed.
        summary: The counts over the whole journal.
        described: What the scan says about itself; a journal without that is reported all the same.

    Raises:
        OSError: The file cannot be written.
    """
    template = page_template("report.html.jinja")
    # Which texts may run is fixed by their hashes: nothing that a file name smuggles in can.
    style, script = asset("report.css"), page_script()
    columns = [column.name for column in COLUMNS if column.name not in summary.common]
    key = described and f"{described.asked.digest} {described.started}"  # the marks of one scan are not another's
    header = {
        "columns": columns,
        "common": summary.common,
        "positive": summary.positive,
        "pictures": PICTURES,
        "key": key or str(path.parent.resolve()),
        "live": False,
    }
    content = template.stream(
        title=printable(path.parent.resolve().name),
        scan=described,
        created=datetime.now(UTC),
        version=__version__,
        research_use=RESEARCH_USE,
        summary=summary,
        bars=bars(summary.histogram(), height=_CHART_HEIGHT),
        chart_height=_CHART_HEIGHT,
        listed=LISTED,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        header=to_script_json(header),
        entries=_entries(path.parent, records, columns, summary),
    )
    content.enable_buffering(256)
    with open_atomically(path, mode=file_mode(path.parent)) as file:
        content.dump(file, encoding="utf-8", errors="backslashreplace")


def _entries(folder: Path, records: LatestRecords, columns: list[str], summary: Summary) -> Iterator[Markup]:
    """Give each listed row as a line of JSON: the values of the columns that vary, then a bit for each picture."""
    least = summary.least(LISTED)
    listed = {"ok": 0, "refused": 0, "error": 0}
    comma = ""
    for row in records.rows():
        if (row["status"] == "ok" and row["probability"] < least) or listed[row["status"]] == LISTED:
            continue
        listed[row["status"]] += 1
        yield Markup(f"{comma}{to_script_json([*(row[name] for name in columns), pictures_of(folder, row)])}")  # noqa: S704
        comma = ",\n"


def pictures_of(folder: Path, row: Row) -> int:
    """Say which of `PICTURES` lie in the assets of a row's content, in an output folder; one bit each."""
    if row["sha256"] is None:
        return 0
    try:
        names = {path.name for path in (folder / assets_of(row["sha256"])).iterdir()}
    except OSError:
        return 0
    return picture_bits(names)


def picture_bits(names: Collection[str]) -> int:
    """Give the number that tells the page which of `PICTURES` there are, one bit each."""
    return sum(1 << index for index, name in enumerate(PICTURES) if name in names)


def page_template(name: str, *rooms: str) -> Template:
    """Give a template.

    Args:
        name: Its file name.
        rooms: Packages with a folder ``templates`` that is searched before this room's.
    """
    loaders = [PackageLoader(room) for room in (*rooms, __package__)]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def page_script(*more: str) -> Markup:
    """Join the parts of the page's script into one: they see each other, and nobody else sees them.

    Args:
        more: The text of further parts, which come last.
    """
    parts = "\n".join([*map(asset, _SCRIPT), *more])
    return Markup(f'"use strict";\n(() => {{\n{parts}}})();\n')  # noqa: S704  # our own files


def asset(name: str, room: str = __package__) -> Markup:
    """Read a style sheet or a part of the script.

    Args:
        name: Its file name.
        room: The package with the folder ``templates``.
    """
    return Markup(files(room).joinpath("templates", name).read_text("utf-8"))  # noqa: S704


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def to_script_json(value: object) -> Markup:
    """Write JSON that may stand in HTML: nothing in it can end its element or begin another."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c"))  # noqa: S704
