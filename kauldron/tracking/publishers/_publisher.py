"""`Publisher`: who tells others what happens to runs; on the console, in a file."""

from __future__ import annotations

import dataclasses
import os
from typing import Protocol, runtime_checkable

from kauldron._base import console
from kauldron.tracking.publishers import _events
from kauldron.workdir import json_lines


@runtime_checkable
class Publisher(Protocol):
    """Tells others of events."""

    def publish(self, event: _events.Event) -> None:
        """Tells of an event.

        Raises:
          OSError: If it cannot be told now; whoever told it may try again.
        """

    def close(self) -> None:
        """Releases connections; a later event makes them again."""


@dataclasses.dataclass(frozen=True)
class NullPublisher(Publisher):
    """Tells nobody."""

    def publish(self, event: _events.Event) -> None:
        pass

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class ConsolePublisher(Publisher):
    """Prints a line per event, to stderr."""

    def publish(self, event: _events.Event) -> None:
        console.log(event.describe())

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class JsonLinesPublisher(Publisher):
    """Appends a line of JSON per event to a file, which several runs may share.

    Attributes:
      path: The file; its folder is created.
    """

    path: str | os.PathLike[str]

    def publish(self, event: _events.Event) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        with open(self.path, "ab", buffering=0) as f:
            json_lines.write_whole(f, event.to_json().encode() + b"\n")

    def close(self) -> None:
        pass
