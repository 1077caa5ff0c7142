"""Line-breaking of nested brackets, as a code formatter does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

_WIDTH = 88
_INDENT = 4


@dataclasses.dataclass
class Group:
    """A bracket with items: on one line if that fits, else one item per line.

    Attributes:
      opening: Text before the items, such as `f(`.
      items: What is separated by commas.
      closing: Text after the items.
      is_one_tuple: Whether a comma stands behind the only item also on one line.
    """

    opening: str
    items: list[Doc]
    closing: str
    is_one_tuple: bool = False

    def __post_init__(self) -> None:
        commas = 2 * max(len(self.items) - 1, 0) + self.is_one_tuple
        inner = sum(map(width, self.items))
        self.width = len(self.opening) + inner + commas + len(self.closing)


Doc = str | Group


def width(doc: Doc) -> int:
    """Returns how long a document is on one line."""
    return len(doc) if isinstance(doc, str) else doc.width


def prefixed(prefix: str, doc: Doc) -> Doc:
    """Returns the document behind a text, such as `key=`."""
    if isinstance(doc, str):
        return prefix + doc
    return dataclasses.replace(doc, opening=prefix + doc.opening)


def render(doc: Doc, *, indent: int = 0) -> str:
    """Returns the text of a document; what does not fit is broken, outermost first.

    Args:
      doc: The document.
      indent: How far the line on which it begins is indented.
    """
    return "".join(_render(doc, indent))


def _render(doc: Doc, indent: int) -> Iterator[str]:
    if isinstance(doc, str):
        yield doc
    elif indent + doc.width + 1 <= _WIDTH or not doc.items:  # 1: the comma behind it
        yield from _flat(doc)
    else:
        yield doc.opening + "\n"
        for item in doc.items:
            yield " " * (indent + _INDENT)
            yield from _render(item, indent + _INDENT)
            yield ",\n"
        yield " " * indent + doc.closing


def _flat(doc: Doc) -> Iterator[str]:
    if isinstance(doc, str):
        yield doc
        return
    yield doc.opening
    for i, item in enumerate(doc.items):
        if i:
            yield ", "
        yield from _flat(item)
    yield "," + doc.closing if doc.is_one_tuple else doc.closing
