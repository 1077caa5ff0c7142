"""The lines a person sees while a run goes on."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron.train import auxiliaries
from kauldron.utils import status_utils


class Timings:
    """Rates and durations taken at one moment, in the form writers ask for."""

    def __init__(self, metrics: Mapping[str, float]) -> None:
        self._metrics = metrics

    @property
    def steps_per_sec(self) -> float | None:
        return self._metrics.get("perf_stats/steps_per_sec")

    def flush_metrics(self) -> Mapping[str, float]:
        return self._metrics


class Progress:
    """Prints a line per logging step and per evaluation."""

    def __init__(self, first_step: int, last_step: int) -> None:
        self._first_step = first_step
        self._last_step = last_step

    def show(
        self, step: int, values: auxiliaries.AuxiliariesOutput, timings: Timings
    ) -> None:
        """Prints step, loss, rate and the time that is left."""
        parts = [f"step {step:>{len(str(self._last_step))}}/{self._last_step}"]
        parts += _headline(values.loss_values, only="losses/total")
        parts += _headline(values.metric_values)
        rate = timings.steps_per_sec
        # The window that ends with the first step holds nothing but start-up.
        if rate is not None and step > self._first_step:
            left = datetime.timedelta(seconds=round((self._last_step - step) / rate))
            parts += [f"{rate:.4g} steps/s", f"ETA {left}"]
        status_utils.log("  ".join(parts))

    def show_evaluation(
        self, name: str, step: int, aux: auxiliaries.AuxiliariesState | None
    ) -> Mapping[str, Any]:
        """Prints the results of an evaluation; returns them as `{metric: value}`."""
        if aux is None:
            return {}
        # Once: some metrics take long to compute.
        values = dataclasses.replace(aux, summary_states=None).compute(flatten=False)
        losses = auxiliaries.flatten_names("losses", values.loss_values)
        metrics = auxiliaries.flatten_names("metrics", values.metric_values)
        parts = [f"  [{name}] step {step}"]
        parts += _headline(losses, only="losses/total")
        parts += _headline(metrics)
        status_utils.log("  ".join(parts))
        return {**values.loss_values, **values.metric_values}


def finished_message(workdir: Any, step: int) -> str:
    """Returns what is said when there is nothing left to do."""
    return (
        f"Finished: {os.fspath(workdir)} is at step {step}. To train longer, raise "
        "`--cfg.num_train_steps`."
    )


def _headline(values: Mapping[str, Any], only: str | None = None) -> list[str]:
    shown = {k: v for k, v in values.items() if only is None or k == only}
    names = {name: name.split("/", 1)[-1] for name in shown}
    if only is not None:
        names = {only: "loss"}
    return [
        f"{names[name]} {float(np.asarray(value)):.4g}"
        for name, value in list(shown.items())[:4]
        if np.size(value) == 1
    ]
