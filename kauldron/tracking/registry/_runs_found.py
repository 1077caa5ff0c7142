"""One run by what people call it: an id, a number, a name, a workdir."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NoReturn

from kauldron._base import errors
from kauldron.tracking.registry import _notes, _reading, _run_rows, _workdir_facts
from kauldron.tracking.registry.errors import RegistryError

_NUMBER = re.compile(r"(?:run_)?0*(\d{1,9})")


class Finder:
    """Finds runs.

    Args:
      reader: Of the database.
      key_of: Workdir -> how the database names it.
      where: The registry, in words.
    """

    def __init__(
        self, reader: _reading.Reader, key_of: Callable[[str], str], where: str
    ) -> None:
        self._reader = reader
        self._key_of = key_of
        self._where = where

    def number(self, name: str) -> int:
        """Returns the number of a run.

        Args:
          name: `run_0012`, `12`, a workdir, or a name or the end of a workdir that one run
            alone has.

        Raises:
          RegistryError: If there is no such run, or several; names the nearest.
        """
        if match := _NUMBER.fullmatch(name):
            found = self._numbers("id = :x", x=int(match[1]))
            if found:
                return found[0]
        if found := self._numbers("workdir = :x", x=self._key_of(name)):
            return found[0]
        end = f"/{name}"
        found = self._numbers("name = :x", x=name) or self._numbers(
            "workdir = :x OR substr(workdir, length(workdir) - :before) = :end",
            x=name,
            before=len(end) - 1,
            end=end,
        )
        if len(found) == 1:
            return found[0]
        if found:
            *others, last = map(_run_rows.id_of, found[:8])
            listed = f"{', '.join(others)} or {last}"
            raise RegistryError(f"{len(found)} runs are called {name!r}: say {listed}.")
        self._complain(name, is_number=match is not None)
        return None

    def _numbers(self, condition: str, **values: Any) -> list[int]:
        statement = f"SELECT id FROM run WHERE {condition} ORDER BY id"
        return [number for (number,) in self._reader.rows(statement, values)]

    def _complain(self, name: str, *, is_number: bool) -> NoReturn:
        if not is_number and os.path.isdir(name) and _workdir_facts.is_run(name):
            notes = _notes.read(name)
            elsewhere = ""
            if notes and notes.ids:
                ids = ", ".join(map(_run_rows.id_of, sorted({*notes.ids.values()})))
                elsewhere = f" (it is {ids} of another workspace)"
            raise RegistryError(
                f"The run in {name!r} is not in {self._where}{elsewhere}: "
                f"`kauldron runs index {name}` adds it."
            )
        known = dict(self._reader.rows("SELECT id, name FROM run"))
        if not known:
            raise RegistryError(
                f"There is no run {name!r}: {self._where} has none yet. `kauldron runs "
                "index runs/` adds those below a folder."
            )
        if is_number:
            ids = f"{_run_rows.id_of(min(known))} to {_run_rows.id_of(max(known))}"
            raise RegistryError(
                f"There is no run {name!r} in {self._where}: it has {len(known)}, {ids}. "
                "Each workspace has numbers of its own."
            )
        near = errors.did_you_mean(
            name, [*known.values(), *map(_run_rows.id_of, known)]
        )
        raise RegistryError(f"There is no run {name!r} in {self._where}.{near}")
