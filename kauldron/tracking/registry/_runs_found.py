"""One run by what people call it: an id, a number, a name, a workdir."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NoReturn

from kauldron._base import errors, extras
from kauldron.tracking.registry import _notes, _run_rows, _schema, _workdir_facts
from kauldron.tracking.registry.errors import RegistryError

_NUMBER = re.compile(r"(?:run_)?0*(\d{1,9})")


class Finder:
    """Finds runs.

    Args:
      connection: To the database.
      key_of: Workdir -> how the database names it.
      where: The registry, in words.
    """

    def __init__(
        self, connection: Any, key_of: Callable[[str], str], where: str
    ) -> None:
        self._connection = connection
        self._key_of = key_of
        self._where = where
        self._sa = extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )
        self._run = _schema.tables().run

    def number(self, name: str) -> int:
        """Returns the number of a run.

        Args:
          name: `run_0012`, `12`, a workdir, or a name or the end of a workdir that one run
            alone has.

        Raises:
          RegistryError: If there is no such run, or several; names the nearest.
        """
        run = self._run
        if match := _NUMBER.fullmatch(name):
            found = self._numbers(run.c.id == int(match[1]))
            if found:
                return found[0]
        if found := self._numbers(run.c.workdir == self._key_of(name)):
            return found[0]
        ends_so = (run.c.workdir == name) | run.c.workdir.endswith(
            f"/{name}", autoescape=True
        )
        found = self._numbers(run.c.name == name) or self._numbers(ends_so)
        if len(found) == 1:
            return found[0]
        if found:
            *others, last = map(_run_rows.id_of, found[:8])
            listed = f"{', '.join(others)} or {last}"
            raise RegistryError(f"{len(found)} runs are called {name!r}: say {listed}.")
        self._complain(name, is_number=match is not None)
        return None

    def _numbers(self, condition: Any) -> list[int]:
        run = self._run
        rows = self._sa.select(run.c.id).where(condition).order_by(run.c.id)
        return list(self._connection.execute(rows).scalars())

    def _complain(self, name: str, *, is_number: bool) -> NoReturn:
        if not is_number and os.path.isdir(name) and _workdir_facts.is_run(name):
            notes = _notes.read(name)
            elsewhere = ""
            if notes and notes.ids:
                ids = ", ".join(map(_run_rows.id_of, notes.ids.values()))
                elsewhere = f" (it is {ids} of another workspace)"
            raise RegistryError(
                f"The run in {name!r} is not in {self._where}{elsewhere}: "
                f"`kauldron runs index {name}` adds it."
            )
        run = self._run
        rows = self._sa.select(run.c.id, run.c.name)
        known = dict(self._connection.execute(rows).all())
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
