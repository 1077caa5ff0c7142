"""Trials that are not trained: a backend that writes at once what a run would leave.

What a trial gives is a function of its overrides.
"""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import konfig, launch
from kauldron.workdir import json_lines, run_status

NUM_STEPS = 4

CONFIG = """
    from kauldron import konfig


    def get_config():
        return konfig.ConfigDict(
            {
                "workdir": konfig.placeholder(str),
                "evals": {"eval": {}},
                "aux": {"width": 4, "rate": 0.25, "act": "relu", "beta": 0.5},
            }
        )
"""


def write_config(folder: pathlib.Path) -> str:
    """Writes the config file; returns its path."""
    path = folder / "fake.py"
    path.write_text(textwrap.dedent(CONFIG))
    return str(path)


def by_width(overrides: Mapping[str, str]) -> float:
    """The best width is 20."""
    return 1 - abs(int(overrides["aux.width"]) - 20) / 100


class Local:
    """Runs trials in this process; called as a backend that other programs know.

    Args:
      value: What a trial has reached at its end, by what differs; raises if it fails.
      parallel: Trials at a time.
      num_looks: A trial ends when it is looked at so often.
    """

    def __init__(
        self,
        value: Callable[[Mapping[str, str]], float] = by_width,
        parallel: int | None = 1,
        num_looks: int = 1,
    ) -> None:
        self.value, self.parallel, self.num_looks = value, parallel, num_looks
        self.started: list[str] = []
        self.most_at_once = 0
        self._at_work: dict[str, launch.Task] = {}
        self._looks: dict[str, int] = {}
        self._codes: dict[str, int] = {}

    def check(self) -> None:
        pass

    def start(self, task: launch.Task) -> launch.Handle:
        assert task.name not in self._at_work
        self.started.append(task.name)
        self._at_work[task.name] = task
        self.most_at_once = max(self.most_at_once, len(self._at_work))
        return {"backend": "fake", "name": task.name}

    def find(self, task: launch.Task) -> launch.Handle | None:
        is_known = task.name in self.started
        return {"backend": "fake", "name": task.name} if is_known else None

    def ask(self, handles: Sequence[launch.Handle]) -> list[launch.Status]:
        return [self._ask(handle["name"]) for handle in handles]

    def _ask(self, name: str) -> launch.Status:
        if name in self._at_work:
            self._looks[name] = self._looks.get(name, 0) + 1
            if self._looks[name] < self.num_looks:
                return launch.Status(launch.State.RUNNING)
            self._codes[name] = self._end(name)
        return launch.Status(launch.State.DONE, self._codes[name])

    def _end(self, name: str) -> int:
        task = self._at_work.pop(name)
        try:
            write_run(task.workdir, lambda: self.value(overrides_of(task)))
        except ValueError:
            return 1
        return 0

    def stop(self, handles: Sequence[launch.Handle]) -> None:
        raise AssertionError("nothing is stopped here")

    def close(self) -> None:
        pass


def overrides_of(task: launch.Task) -> dict[str, str]:
    """Returns what a trial sets, of the command line."""
    _, overrides = konfig.split_overrides("cfg", list(task.args))
    return {o.path: o.value for o in overrides if o.path.startswith("aux.")}


def write_run(
    workdir: str,
    value: Callable[[], float],
    *,
    num_steps: int = NUM_STEPS,
    every: int = 1,
) -> None:
    """Writes what a run leaves whose metric rises to a value.

    Args:
      workdir: Directory of the run.
      value: Gives what is reached at the end; the run fails if it raises.
      num_steps: How many evaluations there are.
      every: After so many updates each.
    """
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    records = json_lines.RecordFile(folder / json_lines.METRICS_FILE)
    with run_status.report(
        folder, step=0, last_step=num_steps * every, is_new=True
    ) as report:
        reached: Any = value()
        for step in range(1, num_steps + 1):
            part = reached * step / num_steps
            records.append(step * every, "eval", {"metrics/accuracy": part})
            report.step = step * every
