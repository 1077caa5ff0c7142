"""Several things to look at, one below the other."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

from kauldron.inspect import _svg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sections:
    """Things to look at, one below the other; notebooks fold them.

    Attributes:
      parts: Title -> what is shown.
    """

    parts: Mapping[str, Any]

    def __getitem__(self, title: str) -> Any:
        return self.parts[title]

    def __str__(self) -> str:
        texts = (
            f"{title}\n{'-' * len(title)}\n{_as_text(part)}"
            for title, part in self.parts.items()
        )
        return "\n\n".join(texts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return folded(self.parts)


def folded(parts: Mapping[str, Any], *, num_open: int = 1) -> str:
    """Returns HTML of things to look at, which unfold by their titles.

    Args:
      parts: Title -> what is shown.
      num_open: How many of the first are unfolded.
    """
    return "".join(
        f"<details{' open' if i < num_open else ''}><summary style='font:600 13px "
        f"system-ui;padding:4px 0'>{html.escape(title)}</summary>{_as_html(part)}"
        "</details>"
        for i, (title, part) in enumerate(parts.items())
    )


def _as_text(part: Any) -> str:
    if isinstance(part, _svg.Picture):
        return "(a picture: notebooks show it, `.save('x.svg')` writes it)"
    return str(part)


def _as_html(part: Any) -> str:
    if isinstance(part, _svg.Picture):
        return part.svg
    if hasattr(part, "_repr_html_"):
        return part._repr_html_()
    return f"<pre>{html.escape(str(part))}</pre>"
