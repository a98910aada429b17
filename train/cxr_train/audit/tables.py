"""Tables of the page: figures as people read them, one audit's beside another's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Audit = Mapping[str, Any]
Figure = Mapping[str, float | None]
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What stands in it.
        tone: ``met``, ``missed``, ``beside`` (of another audit) or nothing.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        head: Titles of the columns.
        rows: Cells, the first of each row its title.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Column:
    """A column of a table with one row for each named thing.

    Attributes:
        title: Of the column.
        show: What stands in it for one thing.
        compared: Whether it matters most: audits beside have it as well, and columns that do not make room for them.
    """

    title: str
    show: Callable[[Mapping[str, Any]], str]
    compared: bool = False


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A plain number."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def with_interval(figure: Figure | None, show: Callable[[float | None], str] = number) -> str:
    """A figure with its interval in brackets."""
    if figure is None or figure["value"] is None:
        return NOTHING
    if figure["low"] is None or figure["high"] is None:
        return show(figure["value"])
    low, high = (show(figure[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{show(figure['value'])} ({low} to {high})"


def dig(value: Any, *keys: str | int) -> Any:
    """What lies under some keys, one inside the other; None where one of them is missing or null."""
    for key in keys:
        if value is None or (isinstance(value, Mapping) and key not in value):
            return None
        value = value[key]
    return value


def reading(show: Callable[[Any], str], *keys: str | int) -> Callable[[Mapping[str, Any]], str]:
    """A function that digs a value out of a mapping and shows it."""
    return lambda mapping: show(dig(mapping, *keys))


def share(figure: Figure | None) -> str:
    """A share with its interval, as percentages."""
    return with_interval(figure, percent)


def short(value: float | None) -> str:
    """A number to two digits."""
    return number(value, 2)


def long(value: float | None) -> str:
    """A number to four digits."""
    return number(value, 4)


def count(value: int | None) -> str:
    """A whole number."""
    return NOTHING if value is None else str(value)


def listing(
    caption: str,
    title: str,
    columns: Sequence[Column],
    audits: Sequence[Audit],
    things: Callable[[Audit], Iterable[tuple[str, Mapping[str, Any]]]],
) -> Table:
    """One row for each thing in the first audit; where audits stand beside it, compared columns only, side by side.

    Args:
        caption: Of the table.
        title: Of the first column.
        columns: The others.
        audits: The audit itself, then those beside it.
        things: The rows of an audit, by name.
    """
    found = [dict(things(audit)) for audit in audits]
    chosen = [column for column in columns if column.compared or len(audits) == 1]
    head = [
        column.title if len(audits) == 1 else f"{column.title}, {audit['name']}"
        for column in chosen
        for audit in audits
    ]
    rows = [
        [
            Cell(name),
            *(
                Cell(column.show(each[name]) if name in each else NOTHING, "beside" if place else "")
                for column in chosen
                for place, each in enumerate(found)
            ),
        ]
        for name in found[0]
    ]
    return Table(caption, [title, *head], rows)


def facts(caption: str, audits: Sequence[Audit], rows: Mapping[str, Callable[[Audit], str]]) -> Table:
    """One row for each figure, one column for each audit."""
    return Table(
        caption,
        ["", *(audit["name"] for audit in audits)],
        [
            [Cell(name), *(Cell(show(audit), "beside" if place else "") for place, audit in enumerate(audits))]
            for name, show in rows.items()
        ],
    )
