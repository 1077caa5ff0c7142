"""Server-sent events, read line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """An event.

    Attributes:
      id: To go on after it.
      name: `message` unless it has a name of its own.
      text: What it says.
    """

    id: str
    name: str
    text: str


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yields the events of a stream; comments are signs of life, and left out.

    Reference: WHATWG HTML, 9.2 Server-sent events.
    """
    event_id, name, data = "", "message", []
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                event_id = value
        else:
            if data:
                yield Event(event_id, name, "\n".join(data))
            name, data = "message", []
