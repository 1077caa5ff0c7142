"""Figures of benchmarks: one file of a run, and the table of the documentation.

    python -m tests.benchmarks.figures build/benchmarks.json

adds what `make bench` has measured to `docs/benchmarks.json` and writes the table of
`docs/benchmarks.md` anew.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks import clocks

ROOT = pathlib.Path(__file__).parents[2]
LATEST = ROOT / "build/benchmarks.json"
RECORDED = ROOT / "docs/benchmarks.json"
PAGE = ROOT / "docs/benchmarks.md"
_BEGIN = "<!-- Made by tests/benchmarks/figures.py from benchmarks.json. -->"
_END = "<!-- End of what is made. -->"
TIMES = "\N{MULTIPLICATION SIGN}"
_KINDS_OF_ROWS = ("step", "command to first step", "peak memory")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes:
      what: Ours, in the words of the table.
      unit: `TIMES` for a ratio, else a unit.
      value: The median over rounds.
      low: The smallest of a round.
      high: The largest of a round.
      num_rounds: How many.
      against: What a ratio is over, with how long that takes.
      processor: The median by processor time; `None` if the clock of the wall is not
        meant, or there is no other.
      budget: What it is to be at most, or at least; `None` if nobody has said.
      is_more_better: Whether the budget is a lower bound.
      test: The benchmark, `file.py`.
      table: `"peers"`: the number is a cell of that table, and `what` is "row: column".
    """

    what: str
    unit: str
    value: float
    low: float
    high: float
    num_rounds: int
    against: str = ""
    processor: float | None = None
    budget: float | None = None
    is_more_better: bool = False
    test: str = ""
    table: str = ""

    @property
    def is_within_budget(self) -> bool:
        if self.budget is None:
            return True
        if self.is_more_better:
            return self.value >= self.budget
        return self.value <= self.budget

    def text(self) -> str:
        """The cell of the table that says what was measured."""
        parts = (
            f"{_number(self.low)} to {_number(self.high)} in {self.num_rounds} rounds"
        )
        if self.num_rounds == 1:
            parts = "one round"
        if self.processor is not None:
            unit = "" if self.unit == TIMES else f" {self.unit}"
            parts += f"; processor time {_number(self.processor)}{unit}"
        against = f" {self.against}" if self.against else ""
        return f"{_number(self.value)} {self.unit}{against} ({parts})"

    def row(self) -> str:
        """The row of the table."""
        budget = "—"
        if self.budget is not None:
            sign = "≥" if self.is_more_better else "≤"
            budget = f"{sign} {_number(self.budget)} {self.unit}"
        text = self.text()
        if not self.is_within_budget:
            text += ": **over the budget**"
        return f"| {self.what} | {text} | {budget} | `{self.test}` |"


class Recorder:
    """Collects the figures of a session."""

    def __init__(self, test: str = "", collected: list[Figure] | None = None) -> None:
        self._test = test
        self.collected = [] if collected is None else collected

    def of(self, test: str) -> Recorder:
        """The same collection, for one benchmark."""
        return Recorder(test, self.collected)

    def ratio(
        self,
        what: str,
        ours: Sequence[clocks.Secs],
        theirs: Sequence[clocks.Secs],
        **about: Any,
    ) -> Figure:
        """Adds ours over theirs, round by round."""
        wall, processor = clocks.ratios(ours, theirs)
        return self._add(
            what, TIMES, wall, len(ours), processor=processor.median, **about
        )

    def number(
        self, what: str, values: Sequence[float], unit: str, **about: Any
    ) -> Figure:
        """Adds numbers of rounds."""
        return self._add(what, unit, clocks.spread(values), len(values), **about)

    def _add(
        self,
        what: str,
        unit: str,
        spread: clocks.Spread,
        num_rounds: int,
        **about: Any,
    ) -> Figure:
        figure = Figure(
            what=what,
            unit=unit,
            value=spread.median,
            low=spread.low,
            high=spread.high,
            num_rounds=num_rounds,
            test=self._test,
            **about,
        )
        self.collected.append(figure)
        print(f"\n{figure.what}: {figure.text()}", end="")
        if figure.budget is not None:
            verdict = "within" if figure.is_within_budget else "OVER"
            print(f"; {verdict} the budget of {_number(figure.budget)}", end="")
        print(flush=True)
        return figure


def describe(command: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """Returns a run of benchmarks as it is written: where, with what, what came out."""
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "figures": [dataclasses.asdict(x) for x in figures],
    }


def write(run: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes a run for `main`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    print(f"\nWritten to {os.path.relpath(path, ROOT)}.\n")


def merge(old: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns runs in which the figures of a new one stand for older ones of their name."""
    names = {figure["what"] for figure in new["figures"]}
    kept = []
    for run in old:
        others = [x for x in run["figures"] if x["what"] not in names]
        if others:
            kept.append({**run, "figures": others})
    return [*kept, new]


def table(runs: list[dict[str, Any]]) -> str:
    """The tables of all runs, and below them where each was measured."""
    figures = [Figure(**x) for run in runs for x in run["figures"]]
    figures.sort(key=lambda x: x.test)  # stable: those of a file keep their order
    rows = ["| what | measured | budget | by |", "|---|---|---|---|"]
    rows += [figure.row() for figure in figures if not figure.table]
    peers = [x for x in figures if x.table == "peers"]
    if peers:
        rows += ["", "### Against others", "", *_cross_table(peers)]
    return "\n".join([*rows, "", *map(_where, runs)])


def _cross_table(figures: Sequence[Figure]) -> list[str]:
    """One column for each tool."""
    cells = {tuple(x.what.split(": ")): x for x in figures}
    names = sorted({name for _, name in cells}, key=_place_of_column)
    rows = [f"| over its own raw loop | {' | '.join(names)} |"]
    rows.append("|---" * (len(names) + 1) + "|")
    for what in sorted({what for what, _ in cells}, key=_place_of_row):
        texts = [_cell(cells.get((what, name))) for name in names]
        rows.append(f"| {what} | {' | '.join(texts)} |")
    return rows


def _place_of_row(what: str) -> tuple[int, str]:
    kind, _, model = what.partition(", ")
    return _KINDS_OF_ROWS.index(kind), model


def _place_of_column(name: str) -> tuple[bool, str]:
    """Ours comes first."""
    return name != "Kauldron", name


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "not measured"
    text = f"{_number(figure.value)} {figure.unit}"
    if figure.processor is not None:
        text += f", processor {_number(figure.processor)}"
    spread = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"{text} ({spread}; raw {figure.against.partition('(')[2]}"


def _where(run: dict[str, Any]) -> str:
    """Which benchmarks a run has measured, on what, with what."""
    tests = ", ".join(f"`{x}`" for x in sorted({x["test"] for x in run["figures"]}))
    machine = run["machine"]
    versions = ", ".join(f"{name} {x}" for name, x in run["versions"].items())
    return (
        f"- {tests}: {run['date']}, {machine['cores']} cores of {machine['processor']}, "
        f"load {machine['load']}; {versions}; `{run['command']}`"
    )


def insert(page: str, made: str) -> str:
    """Returns a page with another table between the two marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"The page has no lines {_BEGIN!r} and {_END!r}.")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def _number(x: float) -> str:
    """Three digits, and no more of large numbers than are there."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{float(f'{x:.3g}'):g}"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def main(arguments: Sequence[str]) -> None:
    """Adds the runs of the files given, and writes the table."""
    runs = json.loads(RECORDED.read_text())
    for name in arguments:
        runs = merge(runs, json.loads(pathlib.Path(name).read_text()))
    RECORDED.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(insert(PAGE.read_text(), table(runs)))


if __name__ == "__main__":
    main(sys.argv[1:])
