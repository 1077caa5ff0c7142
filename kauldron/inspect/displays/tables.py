"""Tables that notebooks show as HTML and terminals as aligned text."""

from __future__ import annotations

import dataclasses
import html
import importlib
from typing import Any

from kauldron._base import errors, text_tables

_STYLE = (
    "<style>.kd-table{border-collapse:collapse;font:12px ui-monospace,Menlo,Consolas,"
    "monospace}.kd-table td,.kd-table th{padding:2px 10px;text-align:left;"
    "border-bottom:1px solid rgba(128,128,128,.3);white-space:pre}"
    ".kd-table td.n,.kd-table th.n{text-align:right}"
    ".kd-title{font:600 13px system-ui,sans-serif;margin:6px 0 4px}</style>"
)


class PandasError(errors.UserError, ImportError):
    """A data frame was asked for, and pandas is not installed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of texts and numbers; prints aligned, notebooks show it as a table.

    Attributes:
      title: What the rows are; empty for none.
      columns: Their names.
      rows: Cells: texts, numbers, or `None` for what does not apply.
      notes: Lines below, such as totals.
    """

    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def as_dicts(self) -> list[dict[str, Any]]:
        """Returns a dict for each row, which JSON can hold."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_pandas(self) -> Any:
        """Returns a `pandas.DataFrame`.

        Raises:
          PandasError: If pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise PandasError(
                "Data frames need the package `pandas`: pip install pandas. "
                "`table.as_dicts()` has the same rows."
            ) from None
        return pandas.DataFrame(list(self.rows), columns=list(self.columns))

    def __str__(self) -> str:
        rows = [self.columns, *(map(format_cell, row) for row in self.rows)]
        table = text_tables.aligned([list(row) for row in rows], right=self._numeric)
        return "\n".join([*filter(None, [self.title]), table, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        numeric = self._numeric
        classes = [
            'class="n"' if i in numeric else "" for i in range(len(self.columns))
        ]

        def line(cells: Any, tag: str) -> str:
            parts = (
                f"<{tag} {css}>{html.escape(cell)}</{tag}>"
                for cell, css in zip(cells, classes, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        title = f'<div class="kd-title">{html.escape(self.title)}</div>'
        body = "".join(line(map(format_cell, row), "td") for row in self.rows)
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        return (
            f"{_STYLE}{title if self.title else ''}<table class='kd-table'>"
            f"<thead>{line(self.columns, 'th')}</thead><tbody>{body}</tbody></table>{notes}"
        )

    @property
    def _numeric(self) -> tuple[int, ...]:
        """Columns that hold nothing but numbers."""

        def is_number(cell: Any) -> bool:
            return isinstance(cell, int | float) and not isinstance(cell, bool)

        return tuple(
            i
            for i in range(len(self.columns))
            if any(is_number(row[i]) for row in self.rows)
            and all(row[i] is None or is_number(row[i]) for row in self.rows)
        )


def format_cell(cell: Any) -> str:
    """Returns a cell as text: whole numbers with commas, others with four digits."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return str(cell)
