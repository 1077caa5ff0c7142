"""What differs between runs: parameters, metrics, how they stand."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from kauldron._base import text_tables
from kauldron.tracking.registry import records, shown_values

Kind = Literal["run", "parameter", "metric"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not the same in all runs.

    Attributes:
      kind: Of the run itself, of its config, or measured.
      name: `status`, `optimizer.learning_rate`, `eval.accuracy`.
      values: Of each run; `None` where a run has none. Of a metric, the best.
      mode: Which values of a metric are better; `None` if unknown, and of the rest.
    """

    kind: Kind
    name: str
    values: tuple[records.Scalar | None, ...]
    mode: Literal["min", "max"] | None = None

    @property
    def best(self) -> set[int]:
        """The places of the best value, of a metric of which that is known."""
        if self.mode is None:
            return set()
        finite = {
            place: value
            for place, value in enumerate(self.values)
            if isinstance(value, int | float) and math.isfinite(value)
        }
        if not finite:
            return set()
        best = (min if self.mode == "min" else max)(finite.values())
        return {place for place, value in finite.items() if value == best}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side; `print` shows what differs as a table.

    Attributes:
      runs: In the order of the columns.
      differences: One per row.
      num_equal: How many parameters and metrics are the same in all of them.
    """

    runs: tuple[records.Run, ...]
    differences: tuple[Difference, ...]
    num_equal: int

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "runs": [{"id": run.id, "name": run.name} for run in self.runs],
            "differences": [
                {
                    "kind": difference.kind,
                    "name": difference.name,
                    "mode": difference.mode,
                    "values": {
                        run.id: _json_value(value)
                        for run, value in zip(self.runs, difference.values, strict=True)
                    },
                }
                for difference in self.differences
            ],
            "num_equal": self.num_equal,
        }

    def as_csv(self) -> str:
        """Returns it as CSV with a header; what a run lacks is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["kind", "name", *(run.id for run in self.runs)])
        for difference in self.differences:
            values = ["" if v is None else v for v in difference.values]
            writer.writerow([difference.kind, difference.name, *values])
        return text.getvalue()

    def __str__(self) -> str:
        same = f"{self.num_equal} parameters and metrics are the same."
        if not self.differences:
            return f"No difference: {same}"
        rows = [["", *(run.id for run in self.runs)]]
        rows += [["name", *(run.name for run in self.runs)]]
        for kind, title in (
            ("run", None),
            ("parameter", "parameters"),
            ("metric", "metrics"),
        ):
            of_kind = [d for d in self.differences if d.kind == kind]
            if of_kind and title:
                rows += [[""] * len(rows[0]), [title, *[""] * len(self.runs)]]
            rows += [self._row(d, indent=bool(title)) for d in of_kind]
        return f"{text_tables.aligned(rows)}\n\n{same}"

    def _row(self, difference: Difference, *, indent: bool) -> list[str]:
        name = f"  {difference.name}" if indent else difference.name
        if difference.mode:
            name += f" ({difference.mode})"
        best = difference.best
        return [
            name,
            *(
                shown_values.format_value(value) + (" *" if i in best else "")
                for i, value in enumerate(difference.values)
            ),
        ]


# A parameter that is another one in every run.
_NO_CHOICE = ("workdir",)

_OF_THE_RUN: dict[str, Callable[[records.Run], records.Scalar]] = {
    "project": lambda run: run.project,
    "family": lambda run: run.family,
    "experiment": lambda run: run.experiment,
    "status": shown_values.status_of,
    "step": lambda run: run.step,
    "tags": lambda run: ", ".join(run.tags),
}


def compare(runs: Sequence[records.Run], *, all_values: bool = False) -> Comparison:
    """Returns what differs between runs.

    Args:
      runs: Two or more.
      all_values: Keep what is the same in all of them, too.
    """
    rows = [
        Difference(kind="run", name=name, values=tuple(map(value_of, runs)))
        for name, value_of in _OF_THE_RUN.items()
    ]
    rows += [
        Difference(
            kind="parameter",
            name=name,
            values=tuple(run.parameters.get(name) for run in runs),
        )
        for name in _names(run.parameters for run in runs)
        if all_values or name not in _NO_CHOICE
    ]
    rows += [
        Difference(
            kind="metric",
            name=name,
            values=tuple(shown_values.metric_value(run, name) for run in runs),
            mode=next(run.metrics[name].mode for run in runs if name in run.metrics),
        )
        for name in _names(run.metrics for run in runs)
    ]
    equal = [row for row in rows if _all_equal(row.values)]
    shown = rows if all_values else [row for row in rows if row not in equal]
    return Comparison(
        runs=tuple(runs),
        differences=tuple(shown),
        num_equal=sum(row.kind != "run" for row in equal),
    )


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    """Returns all names: in their order, those of later runs behind."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _all_equal(values: Sequence[records.Scalar | None]) -> bool:
    return len({_identity(value) for value in values}) == 1


def _identity(value: records.Scalar | None) -> object:
    """Returns what is equal for equal values: 1 is 1.0, but true is not 1."""
    if isinstance(value, float) and math.isnan(value):
        return "nan", float
    return value, isinstance(value, bool)


def _json_value(value: records.Scalar | None) -> records.Scalar | None:
    """Returns a value that JSON has: NaN and infinities become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
