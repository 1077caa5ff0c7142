"""How the database is read: SQL that SQLite and PostgreSQL both understand.

What is only read is asked for in words, without SQLAlchemy: to import it takes longer than
to find a run among ten thousand. What is written goes through SQLAlchemy, which also has
the tables.
"""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from kauldron._base import extras

Row = tuple[Any, ...]

_TABLE_NAMES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}
_MATCHES = {"sqlite": "REGEXP", "postgresql": "~"}


class Reader(Protocol):
    """The database as it is at one moment.

    Attributes:
      matches: The operator between a text and a regular expression that is found in it.
    """

    matches: str

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Returns the rows that a statement selects.

        Args:
          sql: The statement, with `:name` where a value stands.
          values: By these names.
        """
        ...

    def table_names(self) -> set[str]:
        """Returns the names of the tables."""
        ...


class Values:
    """The values of a statement: each becomes the name that stands for it there.

    Attributes:
      by_name: What `Reader.rows` takes.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}

    def __call__(self, value: Any) -> str:
        """Returns what is written into the statement for a value."""
        name = f"v{len(self.by_name)}"
        self.by_name[name] = value
        return f":{name}"

    def one_of(self, values: Iterable[Any]) -> str:
        """Returns what is written behind `IN`."""
        return f"({', '.join(map(self, values)) or 'NULL'})"


class SqliteReader:
    """Reads a file.

    Args:
      connection: To it.
    """

    matches = _MATCHES["sqlite"]

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.create_function("regexp", 2, _is_found, deterministic=True)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """See `Reader`."""
        return self._connection.execute(sql, values or {}).fetchall()

    def table_names(self) -> set[str]:
        """See `Reader`."""
        return {name for (name,) in self.rows(_TABLE_NAMES["sqlite"])}


class SqlalchemyReader:
    """Reads through a connection of SQLAlchemy, in a transaction that may write as well.

    Args:
      connection: To a file or a server.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self.matches = _MATCHES[self._dialect]

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """See `Reader`."""
        found = self._connection.execute(_text(sql), values or {})
        return [tuple(row) for row in found]

    def table_names(self) -> set[str]:
        """See `Reader`."""
        return {name for (name,) in self.rows(_TABLE_NAMES[self._dialect])}


def first(rows: list[Row]) -> Any:
    """Returns the only value of the first row; `None` if there is none."""
    return rows[0][0] if rows else None


@functools.lru_cache
def _text(sql: str) -> Any:
    sa = extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")
    return sa.text(sql)


def _is_found(pattern: str, text: str | None) -> bool | None:
    return None if text is None else re.search(pattern, text) is not None
