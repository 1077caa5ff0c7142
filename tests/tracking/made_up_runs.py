"""Runs that never were, and a source of them that answers as a registry does."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron._base import errors
from kauldron.tracking.registry import records


def metric(best: float, *, last: float | None = None, mode: Any = "max"):
    return records.MetricValue(
        last=best if last is None else last,
        last_step=300,
        best=best,
        best_step=200,
        mode=mode,
    )


def run(number: int, **changes: Any) -> records.Run:
    """A run of digits; `changes` are fields of `Run`."""
    fields: dict[str, Any] = {
        "id": f"run_{number:04}",
        "name": f"digits_{number}",
        "project": "digits",
        "experiment": "width",
        "workdir": f"/nowhere/digits_{number}",
        "status": "done",
        "is_alive": False,
        "step": 300,
        "num_steps": 300,
        "started": 1_700_000_000.0,
        "ended": 1_700_000_042.0,
        "parameters": {
            "aux.num_features": 8 * number,
            "optimizer.learning_rate": 1e-3,
            "seed": 42,
        },
        "metrics": {
            "eval.accuracy": metric(0.9 + number / 100),
            "eval.xentropy": metric(0.5 - number / 100, mode="min"),
            "train.xentropy": metric(0.25, mode="min"),
        },
    }
    return records.Run(**{**fields, **changes})


class MadeUpRuns:
    """A source of runs; the curve of run n rises to its best as `1 - exp(-step/n)`."""

    def __init__(self, runs: Sequence[records.Run]) -> None:
        self.kept = list(runs)
        self.num_asked = 0

    def runs(
        self,
        where: str | None = None,
        sort: str | None = None,
        *,
        project: str | None = None,
        experiment: str | None = None,
        archived: bool = False,
        limit: int | None = None,
    ) -> list[records.Run]:
        self.num_asked += 1
        if where == "broken":
            raise FilterError("Nothing is called `broken`, at position 1.")
        found = [
            r
            for r in self.kept
            if (project in (None, r.project))
            and (experiment in (None, r.experiment))
            and (archived or not r.archived)
            and (where is None or where in r.name)
        ]
        return found[:limit]

    def run(self, name: str) -> records.Run:
        for r in self.kept:
            if name in (r.id, r.name, r.workdir, r.id.removeprefix("run_").lstrip("0")):
                return r
        near = errors.did_you_mean(name, [r.id for r in self.kept])
        raise NoRunError(f"There is no run {name!r}.{near}")

    def curve(self, run: records.Run, metric: str) -> records.Curve:
        steps = tuple(range(0, run.step + 1, 10))
        number = int(run.id[4:])
        top = run.metrics[metric].best
        values = tuple(top * (1 - math.exp(-step / 30 / number)) for step in steps)
        return records.Curve(steps=steps, values=values)


class FilterError(errors.UserError, ValueError):
    """As of a registry."""


class NoRunError(errors.UserError, KeyError):
    """As of a registry."""


def with_workdir(
    made: records.Run,
    folder: pathlib.Path,
    *,
    config: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
) -> records.Run:
    """Returns a run whose workdir has a config and outputs of the evaluator `eval`."""
    import numpy as np

    workdir = folder / made.name
    workdir.mkdir(parents=True)
    if config is not None:
        (workdir / "config.json").write_text(json.dumps(config))
    if outputs is not None:
        (workdir / "outputs" / "eval").mkdir(parents=True)
        np.savez(workdir / "outputs" / "eval" / "step_300.npz", **outputs)
    return dataclasses.replace(made, workdir=os.fspath(workdir))
