"""Filters and orders of runs, as SQL."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

from kauldron._base import errors
from kauldron.tracking.registry import _filters, _reading, _run_rows
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


class Search:
    """Runs that are searched for: which, and in which order.

    Args:
      reader: Of the database, which knows the names of parameters and metrics.
    """

    def __init__(self, reader: _reading.Reader) -> None:
        self._reader = reader
        self._value = _reading.Values()
        self._conditions: list[str] = []
        self._joined: list[str] = []
        self._order: list[str] = []
        self._limit = ""

    def statement(self) -> tuple[str, dict[str, Any]]:
        """Returns what `Reader.rows` takes; rows are `_run_rows.Row`."""
        parts = [
            f"SELECT {_run_rows.COLUMNS} FROM {_run_rows.JOINED}",
            *self._joined,
            *(f"{'AND' if i else 'WHERE'} {x}" for i, x in enumerate(self._conditions)),
            f"ORDER BY {', '.join((*self._order, 'run.id'))}",
            self._limit,
        ]
        return " ".join(parts), self._value.by_name

    def only(self, field: str, value: Any) -> None:
        """Leaves out runs of which a field is something else."""
        self._conditions.append(f"{self.column(field)} = {self._value(value)}")

    def filter(self, text: str) -> list[str]:
        """Leaves out runs of which a filter does not hold; returns the names in it.

        Raises:
          FilterError: If it cannot be understood, or no run has what it names.
        """
        node = _filters.parse(text)
        self._conditions.append(_Condition(self, text).of(node))
        return _filters.names_in(node)

    def sort(self, order: str) -> None:
        """Puts runs into an order; those without a value come last.

        Args:
          order: Names with commas between; `-` before one: the largest first.

        Raises:
          FilterError: If no run has what is named.
        """
        for word in order.split(","):
            name = word.strip().removeprefix("-")
            if not name:
                raise _filters.FilterError(
                    f"Sorting by {order!r}: a name is missing, as in `-eval.accuracy,id`."
                )

            def complain(problem: str) -> NoReturn:
                raise _filters.FilterError(f"Sorting by {order!r}: {problem}")

            direction = "DESC" if word.strip().startswith("-") else "ASC"
            for key in self._keys(self.resolve(name, complain)):
                self._order += [f"{key} IS NULL", f"{key} {direction}"]

    def take(self, limit: int | None) -> None:
        """Takes so many of the first."""
        if limit is not None:
            self._limit = f"LIMIT {self._value(limit)}"

    def resolve(self, name: str, complain: Callable[[str], NoReturn]) -> Place:
        """Returns what a name stands for: a field before a metric before a parameter.

        Args:
          name: As it was written.
          complain: Raises what is wrong with it.
        """
        if name in FIELDS:
            return Place("field", name)
        path = name.removeprefix(OF_CONFIG)
        if path == name:
            if self._has("metric", name):
                return Place("metric", name, "last")
            start, _, part = name.rpartition(".")
            if part in PARTS and self._has("metric", start):
                return Place("metric", start, part)
        if self._is_empty or self._has("parameter", path):
            return Place("parameter", path)
        if path == name:
            known = [*FIELDS, *self._names("metric"), *self._names("parameter")]
        else:
            known = [f"{OF_CONFIG}{x}" for x in self._names("parameter")]
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

    def _keys(self, place: Place) -> list[str]:
        """Returns what rows are sorted by, and joins it to them."""
        if place.kind == "field":
            if place.name != "tags":
                return [self.column(place.name)]
            return ["(SELECT min(tag) FROM run_tag WHERE run_id = run.id)"]
        name = f"sorted{len(self._joined)}"
        self._joined.append(
            f"LEFT JOIN {place.kind} AS {name} ON {name}.run_id = run.id "
            f"AND {name}.name = {self._value(place.name)}"
        )
        columns = [place.part] if place.kind == "metric" else ["number", "text"]
        return [f"{name}.{column}" for column in columns]

    def column(self, field: str) -> str:
        """Returns the column of a field."""
        if field in _run_rows.GROUPS:
            return f"coalesce({field}.name, '')"
        return f"run.{_COLUMNS.get(field, field)}"

    def compared(self, column: str, operator: str, value: Any) -> str:
        """Returns whether a column compares with a value like this."""
        words = {"==": "=", "!=": "<>", "~": self._reader.matches}
        return f"{column} {words.get(operator, operator)} {self._value(value)}"

    def runs_with(self, place: Place, condition: str = "") -> str:
        """Returns whether a run has a metric or parameter for which a condition holds."""
        named = f"name = {self._value(place.name)}"
        return self._runs_in(
            place.kind, f"{named} AND {condition}" if condition else named
        )

    def tagged(self, operator: str, word: str) -> str:
        """Returns whether a run has a tag that compares with a word like this."""
        return self._runs_in("run_tag", self.compared("tag", operator, word))

    def _runs_in(self, table: str, condition: str) -> str:
        return f"run.id IN (SELECT run_id FROM {table} WHERE {condition})"

    @functools.cached_property
    def _is_empty(self) -> bool:
        """Whether there is no run, so that no name is known."""
        return not self._reader.rows("SELECT id FROM run LIMIT 1")

    def _has(self, table: str, name: str) -> bool:
        found = f"SELECT name FROM {table} WHERE name = :name LIMIT 1"
        return bool(self._reader.rows(found, {"name": name}))

    def _names(self, table: str) -> list[str]:
        return [
            name for (name,) in self._reader.rows(f"SELECT DISTINCT name FROM {table}")
        ]


class _Condition:
    """Translates the parts of a filter."""

    def __init__(self, search: Search, text: str) -> None:
        self._search = search
        self._text = text

    def of(self, node: _filters.Filter) -> str:
        if isinstance(node, _filters.AllOf):
            return _joined(" AND ", map(self.of, node.parts))
        if isinstance(node, _filters.AnyOf):
            return _joined(" OR ", map(self.of, node.parts))
        if isinstance(node, _filters.Not):
            return _negated(self.of(node.inner))
        place = self._search.resolve(
            node.name.text, lambda problem: self._fail(node.name, problem)
        )
        if isinstance(node, _filters.OneOf):
            same = (self._compare(place, node.name, "==", v) for v in node.values)
            return _joined(" OR ", same)
        if isinstance(node, _filters.Has):
            return self._has(place, node)
        return self._compare(place, node.name, node.operator, node.value)

    def _fail(self, name: _filters.Name, problem: str) -> NoReturn:
        end = name.start + len(name.text)
        where = f"Character {name.start + 1}: {problem[0].lower()}{problem[1:]}"
        _filters.fail(self._text, name.start, end, where)

    def _has(self, place: Place, node: _filters.Has) -> str:
        search = self._search
        if place == Place("field", "tags"):
            return search.tagged("==", node.word)
        word = re.escape(node.word)  # LIKE ignores case in SQLite alone
        if place.kind == "field" and FIELDS[place.name] == "text":
            return search.compared(search.column(place.name), "~", word)
        if place.kind == "parameter":
            return search.runs_with(place, search.compared("text", "~", word))
        self._fail(node.name, f"{node.name.text!r} is no text and no list of words.")
        return None

    def _compare(
        self, place: Place, name: _filters.Name, operator: str, value: _filters.Value
    ) -> str:
        search = self._search
        if place.kind == "field":
            return self._compare_field(place.name, name, operator, value)
        if value is None:
            exists = search.runs_with(place)
            return exists if operator == "!=" else _negated(exists)
        column = "number" if isinstance(value, float) else "text"
        if place.kind == "metric":
            if not isinstance(value, float):
                self._fail(name, f"{name.text!r} is a number: compare it with one.")
            column = place.part
        if isinstance(value, bool):
            text = "true" if value is (operator == "==") else "false"
            is_flag = search.compared("text", "==", text)
            return search.runs_with(place, f"{is_flag} AND number IS NOT NULL")
        return search.runs_with(place, search.compared(column, operator, value))

    def _compare_field(
        self, field: str, name: _filters.Name, operator: str, value: _filters.Value
    ) -> str:
        kind = FIELDS[field]
        if kind == "tags":
            return self._compare_tags(name, operator, value)
        column = self._search.column(field)
        if value is None:
            is_empty = f"coalesce({column}, '') = ''" if kind == "text" else "false"
            return _negated(is_empty) if operator == "!=" else is_empty
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
        return self._search.compared(column, operator, value)

    def _compare_tags(
        self, name: _filters.Name, operator: str, value: _filters.Value
    ) -> str:
        search = self._search
        if value is None and operator in ("==", "!="):
            tagged = search.tagged("!=", "")
            return tagged if operator == "!=" else _negated(tagged)
        if isinstance(value, str) and operator == "~":
            return search.tagged("~", value)
        if isinstance(value, str) and operator in ("==", "!="):
            tagged = search.tagged("==", value)
            return tagged if operator == "==" else _negated(tagged)
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


def _joined(word: str, conditions: Iterable[str]) -> str:
    return f"({word.join(conditions)})"


def _negated(condition: str) -> str:
    return f"NOT ({condition})"
