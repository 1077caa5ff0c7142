"""Finding the texts that end an answer, in a text that comes piece by piece."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Passes a text on up to the first stop text.

    An end that may become a stop text is held back until it is known.

    Args:
      texts: What ends the answer; none is empty.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = tuple(texts)
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """Returns what is certain to belong to the answer, and the stop text found.

        Of several stop texts the one that begins first is found; of those that begin at
        the same place, the one that is named first.
        """
        if not self._texts:
            return text, None
        held = self._held + text
        found = [(held.find(stop), stop) for stop in self._texts if stop in held]
        if found:
            start, stop = min(found, key=lambda x: x[0])
            self._held = ""
            return held[:start], stop
        num_open = max(_num_open(held, stop) for stop in self._texts)
        self._held = held[len(held) - num_open :]
        return held[: len(held) - num_open], None

    def finish(self) -> str:
        """Returns what was held back: the text ends here."""
        held, self._held = self._held, ""
        return held


def _num_open(text: str, stop: str) -> int:
    """Returns the length of the longest end of a text that begins `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
