"""Filters and orders of runs, as SQL."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from kauldron._base import errors, extras
from kauldron.tracking.registry import _filters, _schema
from kauldron.tracking.registry.records import STATUSES

# Fields of a run, and what each is.
FIELDS = {
    "id": "id",
    "name": "text",
    "project": "text",
    "family": "text",
    "experiment": "text",
    "workdir": "text",
    "host": "text",
    "message": "text",
    "status": "text",
    "step": "number",
    "num_steps": "number",
    "started": "time",
    "ended": "time",
    "archived": "flag",
    "tags": "tags",
}
_COLUMNS = {"status": "state", "ended": "heartbeat"}
# Of a metric, besides its last value.
PARTS = ("last", "best", "last_step", "best_step")
# Says that the name is a path of the config, as on the command line.
OF_CONFIG = "cfg."


class Place(NamedTuple):
    """What a name stands for.

    Attributes:
      kind: `field`, `metric` or `parameter`.
      name: Of the field, the metric, the parameter.
      part: Of a metric: `last`, `best`, `last_step`, `best_step`.
    """

    kind: str
    name: str
    part: str = ""


class Query:
    """Builds the statement that finds runs.

    Args:
      connection: To the database, which knows the names of parameters and metrics.
      is_empty: Whether it has no run, so that no name is known.
    """

    def __init__(self, connection: Any, *, is_empty: bool = False) -> None:
        self._is_empty = is_empty
        self._sa = extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )
        self._connection = connection
        self._tables = _schema.tables()

    def resolve(self, name: str, complain: Callable[[str], NoReturn]) -> Place:
        """Returns what a name stands for: a field before a metric before a parameter.

        Args:
          name: As it was written.
          complain: Raises what is wrong with it.
        """
        if name in FIELDS:
            return Place("field", name)
        metric, parameter = self._tables.metric, self._tables.parameter
        path = name.removeprefix(OF_CONFIG)
        if path == name:
            if self._has(metric, name):
                return Place("metric", name, "last")
            start, _, part = name.rpartition(".")
            if part in PARTS and self._has(metric, start):
                return Place("metric", start, part)
        if self._is_empty or self._has(parameter, path):
            return Place("parameter", path)
        if path == name:
            known = [*FIELDS, *self._names(metric), *self._names(parameter)]
        else:
            known = [f"{OF_CONFIG}{x}" for x in self._names(parameter)]
        complain(f"No run has {name!r}.{errors.did_you_mean(name, known)}")
        return None

    def check(self, names: Iterable[str]) -> None:
        """Makes sure that names stand for something.

        Raises:
          FilterError: If no run has what is named; says the nearest.
        """

        def complain(problem: str) -> NoReturn:
            raise _filters.FilterError(problem)

        for name in names:
            self.resolve(name, complain)

    def condition(self, text: str) -> tuple[Any, list[str]]:
        """Returns a filter as SQL, and the names in it.

        Raises:
          FilterError: If it cannot be understood, or no run has what it names.
        """
        node = _filters.parse(text)
        return _Condition(self, text).of(node), _filters.names_in(node)

    def ordered(self, statement: Any, sort: str) -> Any:
        """Returns a statement whose rows are sorted; those without a value come last.

        Args:
          statement: Selects from runs.
          sort: Names with commas between; `-` before one: the largest first.

        Raises:
          FilterError: If no run has what is named.
        """
        run = self._tables.run
        for word in sort.split(","):
            name = word.strip().removeprefix("-")
            if not name:
                raise _filters.FilterError(
                    f"Sorting by {sort!r}: a name is missing, as in `-eval.accuracy,id`."
                )

            def complain(problem: str, sort: str = sort) -> NoReturn:
                raise _filters.FilterError(f"Sorting by {sort!r}: {problem}")

            statement, keys = self._keys(statement, self.resolve(name, complain))
            is_descending = word.strip().startswith("-")
            for key in keys:
                statement = statement.order_by(
                    key.is_(None), key.desc() if is_descending else key
                )
        return statement.order_by(run.c.id)

    def _keys(self, statement: Any, place: Place) -> tuple[Any, list[Any]]:
        """Returns what rows are sorted by, joined to the statement."""
        sa, run = self._sa, self._tables.run
        if place.kind == "field":
            if place.name == "tags":
                tag = self._tables.run_tag.alias()
                first = sa.select(sa.func.min(tag.c.tag)).where(
                    tag.c.run_id == run.c.id
                )
                return statement, [first.scalar_subquery()]
            return statement, [self.column(place.name)]
        table = getattr(self._tables, place.kind).alias()
        statement = statement.outerjoin(
            table, (table.c.run_id == run.c.id) & (table.c.name == place.name)
        )
        if place.kind == "metric":
            return statement, [table.c[place.part]]
        return statement, [table.c.number, table.c.text]

    def column(self, field: str) -> Any:
        """Returns the column of a field."""
        if field == "family":
            return self._sa.func.coalesce(self._tables.family.c.name, "")
        if field in ("project", "experiment"):
            return getattr(self._tables, field).c.name
        return self._tables.run.c[_COLUMNS.get(field, field)]

    def runs_with(self, place: Place, condition: Callable[[Any], Any] | None) -> Any:
        """Returns whether a run has a metric or parameter for which a condition holds."""
        table = getattr(self._tables, place.kind)
        rows = self._sa.select(table.c.run_id).where(table.c.name == place.name)
        if condition is not None:
            rows = rows.where(condition(table.c))
        return self._tables.run.c.id.in_(rows)

    def tagged(self, condition: Callable[[Any], Any] | None = None) -> Any:
        """Returns whether a run has a tag for which a condition holds."""
        table = self._tables.run_tag
        rows = self._sa.select(table.c.run_id)
        if condition is not None:
            rows = rows.where(condition(table.c.tag))
        return self._tables.run.c.id.in_(rows)

    @property
    def sa(self) -> Any:
        """SQLAlchemy."""
        return self._sa

    def _has(self, table: Any, name: str) -> bool:
        found = self._sa.select(table.c.name).where(table.c.name == name).limit(1)
        return self._connection.execute(found).first() is not None

    def _names(self, table: Any) -> Sequence[str]:
        found = self._sa.select(table.c.name).distinct()
        return self._connection.execute(found).scalars().all()


class _Condition:
    """Translates the parts of a filter."""

    def __init__(self, query: Query, text: str) -> None:
        self._query = query
        self._text = text

    def of(self, node: _filters.Filter) -> Any:
        sa = self._query.sa
        if isinstance(node, _filters.AllOf):
            return sa.and_(*map(self.of, node.parts))
        if isinstance(node, _filters.AnyOf):
            return sa.or_(*map(self.of, node.parts))
        if isinstance(node, _filters.Not):
            return sa.not_(self.of(node.inner))
        place = self._query.resolve(
            node.name.text, lambda problem: self._fail(node.name, problem)
        )
        if isinstance(node, _filters.OneOf):
            same = [self._compare(place, node.name, "==", v) for v in node.values]
            return sa.or_(*same)
        if isinstance(node, _filters.Has):
            return self._has(place, node)
        return self._compare(place, node.name, node.operator, node.value)

    def _fail(self, name: _filters.Name, problem: str) -> NoReturn:
        end = name.start + len(name.text)
        where = f"Character {name.start + 1}: {problem[0].lower()}{problem[1:]}"
        _filters.fail(self._text, name.start, end, where)

    def _has(self, place: Place, node: _filters.Has) -> Any:
        if place == Place("field", "tags"):
            return self._query.tagged(lambda tag: tag == node.word)
        word = re.escape(node.word)  # LIKE ignores case in SQLite alone
        if place.kind == "field" and FIELDS[place.name] == "text":
            column = self._query.column(place.name)
            return column.regexp_match(word)
        if place.kind == "parameter":
            return self._query.runs_with(place, lambda c: c.text.regexp_match(word))
        self._fail(node.name, f"{node.name.text!r} is no text and no list of words.")
        return None

    def _compare(
        self, place: Place, name: _filters.Name, operator: str, value: _filters.Value
    ) -> Any:
        if place.kind == "field":
            return self._compare_field(place.name, name, operator, value)
        if value is None:
            exists = self._query.runs_with(place, None)
            return exists if operator == "!=" else self._query.sa.not_(exists)
        if place.kind == "metric":
            if not isinstance(value, float):
                self._fail(name, f"{name.text!r} is a number: compare it with one.")
            return self._query.runs_with(
                place, lambda c: _applied(operator, c[place.part], value)
            )
        if isinstance(value, bool):
            text = "true" if value is (operator == "==") else "false"
            return self._query.runs_with(
                place, lambda c: (c.text == text) & c.number.is_not(None)
            )
        column = "number" if isinstance(value, float) else "text"
        return self._query.runs_with(
            place, lambda c: _applied(operator, c[column], value)
        )

    def _compare_field(
        self, field: str, name: _filters.Name, operator: str, value: _filters.Value
    ) -> Any:
        sa, kind = self._query.sa, FIELDS[field]
        if kind == "tags":
            return self._compare_tags(name, operator, value)
        column = self._query.column(field)
        if value is None:
            is_empty = (
                column.is_(None) | (column == "") if kind == "text" else sa.false()
            )
            return sa.not_(is_empty) if operator == "!=" else is_empty
        if kind == "id":
            value = self._number_of_run(name, value)
        elif kind == "time" and isinstance(value, str):
            value = self._time(name, value)
        wanted: dict[str, type] = {"text": str, "flag": bool}
        if type(value) is not wanted.get(kind, float) or (
            operator == "~" and kind != "text"
        ):
            words = {
                "text": "'text'",
                "flag": "true or false",
                "time": "date, such as '2030-12-31' or '2030-12-31 18:00',",
            }
            self._fail(
                name, f"{field!r} is compared with a {words.get(kind, 'number')}."
            )
        if field == "status" and operator in ("==", "!=") and value not in STATUSES:
            near = errors.did_you_mean(str(value), STATUSES)
            listed = ", ".join(STATUSES)
            self._fail(name, f"No run is {value!r}: a status is {listed}.{near}")
        return _applied(operator, column, value)

    def _compare_tags(
        self, name: _filters.Name, operator: str, value: _filters.Value
    ) -> Any:
        if value is None and operator in ("==", "!="):
            tagged = self._query.tagged()
            return tagged if operator == "!=" else self._query.sa.not_(tagged)
        if isinstance(value, str) and operator == "~":
            return self._query.tagged(lambda tag: tag.regexp_match(value))
        if isinstance(value, str) and operator in ("==", "!="):
            tagged = self._query.tagged(lambda tag: tag == value)
            return tagged if operator == "==" else self._query.sa.not_(tagged)
        self._fail(name, "Tags are words: write `'old' in tags`.")
        return None

    def _number_of_run(self, name: _filters.Name, value: _filters.Value) -> float:
        if isinstance(value, str) and (match := re.fullmatch(r"run_0*(\d+)", value)):
            return float(match[1])
        if isinstance(value, float):
            return value
        self._fail(name, f"{value!r} is no id, such as 'run_0012'.")
        return None

    def _time(self, name: _filters.Name, value: str) -> float:
        try:
            return datetime.datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self._fail(name, f"{value!r} is no date, such as '2030-12-31 18:00'.")


def _applied(operator: str, column: Any, value: Any) -> Any:
    if operator == "~":
        return column.regexp_match(value)
    return {
        "<": column.__lt__,
        "<=": column.__le__,
        ">": column.__gt__,
        ">=": column.__ge__,
        "==": column.__eq__,
        "!=": column.__ne__,
    }[operator](value)
