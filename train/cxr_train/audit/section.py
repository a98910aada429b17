"""A part of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxr_train.audit.tables import Table

Things = Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        lead: Paragraphs: what was done, how to read it.
        tables: Its tables.
        figures: File names of its figures with what they show.
    """

    title: str
    lead: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
