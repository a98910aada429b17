"""``audit.html``: one file for a reviewer, light and printable, that asks no other machine for anything."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cxr_edge.files import write_atomically
from cxr_edge.results.record import RESEARCH_USE
from cxr_train.audit.gallery import Hung
from cxr_train.audit.sections import sections
from cxr_train.audit.tables import Audit

_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def write_page(path: Path, audits: Sequence[Audit], *, figures: Path, hung: Sequence[Hung]) -> None:
    """Writes the page.

    Args:
        path: Where to.
        audits: The audit itself, then those beside it.
        figures: Folder with the figures that the sections name.
        hung: The gallery, pictures of one room together.
    """
    environment = Environment(
        loader=PackageLoader("cxr_train.audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    rooms = [(room, list(pictures)) for room, pictures in groupby(hung, key=lambda each: each.room)]
    style = files("cxr_train.audit").joinpath("templates", "audit.css").read_text("utf-8")
    text = environment.get_template("audit.html.jinja").render(
        audit=audits[0],
        beside=audits[1:],
        sections=list(sections(audits)),
        rooms=rooms,
        lime=bool(audits[0]["evidence"]) and any(each["explained"] for each in audits[0]["evidence"].values()),
        picture=_inlined,
        figures=figures,
        style=Markup(style),  # noqa: S704  # the package's own file
        research_use=RESEARCH_USE,
    )
    write_atomically(path, text.encode())


def _inlined(path: Path) -> str:
    return f"data:{_TYPES[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}"
