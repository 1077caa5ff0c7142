"""What a report has, whatever it is of: facts, pictures, tables, values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kauldron.tracking.comparing import figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A picture of a report.

    Attributes:
      name: Of its file, without the ending.
      section: `Curves` or `Predictions`.
      alt: What it shows, for who does not see it.
      draw: Makes it, in the colours of a theme.
    """

    name: str
    section: str
    alt: str
    draw: Callable[[figures.Theme], Any]


class Table(NamedTuple):
    """A table of a report.

    Attributes:
      title: Above it.
      header: Names of the columns.
      rows: As many cells each.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A report as it is written.

    Attributes:
      title: What it is of.
      subtitle: A line below.
      message: Why a run has failed; may be empty.
      facts: Names and numbers that are looked at first.
      figures: Pictures, in their order.
      tables: Tables, in their order.
      values: All of it as JSON values.
    """

    title: str
    subtitle: str
    message: str = ""
    facts: Sequence[tuple[str, str]]
    figures: Sequence[ReportFigure]
    tables: Sequence[Table]
    values: Mapping[str, Any]
