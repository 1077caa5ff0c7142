"""What the tables of named things share: their store, their names, their complaints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kauldron._base import errors, extras
from kauldron.tracking.registry import _database, _journal, _reading, _schema
from kauldron.tracking.registry.errors import RegistryError

_MAX_NAME = 200


class Store(NamedTuple):
    """Where named things are kept.

    Attributes:
      database: The database.
      journal: What is kept beside it.
    """

    database: _database.Database
    journal: _journal.Journal

    @property
    def sa(self) -> Any:
        """SQLAlchemy, for what is written."""
        return extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )

    @property
    def t(self) -> _schema.Tables:
        """The tables, for what is written."""
        return _schema.tables()

    def rows(self, sql: str) -> list[_reading.Row]:
        """Returns what a statement selects."""
        with self.database.reading() as reader:
            return reader.rows(sql)


def check_name(kind: str, name: str) -> str:
    """Returns a name.

    Raises:
      RegistryError: If nothing can be called so.
    """
    if not name.strip() or name != name.strip() or len(name) > _MAX_NAME:
        problem = f"has 1 to {_MAX_NAME} characters, and no space around it"
    elif "/" in name or "@" in name or not name.isprintable():
        problem = "has no '/', no '@', and no end of line"
    else:
        return name
    raise RegistryError(f"The name of a {kind} {problem}: got {name!r}.")


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Returns words by which something is found.

    Raises:
      RegistryError: If one is no word.
    """
    found = tuple(tags)
    for tag in found:
        if tag.split() != [tag]:
            words = ",".join(tag.split())
            hint = f" Two tags have a comma between: `{words}`." if words else ""
            raise RegistryError(
                f"A tag is one word, without blanks: got {tag!r}.{hint}"
            )
    return found


def missing(kind: str, name: str, known: Iterable[str]) -> RegistryError:
    """Returns the error for a name that nothing has."""
    names = sorted(set(known))
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    there = f" There {'is only' if len(names) == 1 else 'are'} {listed}."
    if not names:
        there = " There is none yet."
    near = errors.did_you_mean(name, names)
    return RegistryError(f"There is no {kind} {name!r}.{near or there}")
