"""Running several evaluators on one state: a failing one does not stop the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from kauldron._base import console, problem_log
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries


class Evaluations:
    """Runs evaluators, and keeps results and errors.

    Args:
      selected: Name -> evaluator.

    Attributes:
      results: Name -> the last result.
      outputs: Name -> values of the last result.
    """

    def __init__(self, selected: Mapping[str, base.EvaluatorBase]) -> None:
        self._selected = selected
        self._errors: dict[str, Exception] = {}
        self.results: dict[str, auxiliaries.AuxiliariesState] = {}
        self.outputs: dict[str, auxiliaries.AuxiliariesOutput] = {}

    def working(self, names: Iterable[str]) -> list[str]:
        """Returns those that have not failed."""
        return [name for name in names if name not in self._errors]

    def run(self, name: str, state: TrainState, step: int) -> bool:
        """Runs an evaluator; returns whether it succeeded."""
        evaluator = self._selected[name]
        try:
            with problem_log.collect():  # one metric that fails costs no other
                aux = evaluator.evaluate(state, step)
            evaluator.writer.flush()
            if aux is not None:
                self._keep(name, step, aux)
        except Exception as e:
            e.add_note(f"In `cfg.evals[{name!r}]` at step {step}.")
            self._errors[name] = e
            console.warn(
                f"the evaluator {name!r} is given up.\n{problem_log.explain(e)}"
            )
            return False
        return True

    def _keep(self, name: str, step: int, aux: auxiliaries.AuxiliariesState) -> None:
        # Failures were reported when the values were written.
        values = dataclasses.replace(aux, summary_states=None).compute(failures=[])
        self.results[name], self.outputs[name] = aux, values
        console.log(_line(name, step, values))

    def close(self) -> None:
        """Releases the files of the writers."""
        for evaluator in self._selected.values():
            evaluator.writer.close()

    def raise_errors(self) -> None:
        """Raises what went wrong.

        Raises:
          ExceptionGroup: If an evaluator failed.
        """
        if self._errors:
            raise ExceptionGroup(
                f"{len(self._errors)} of {len(self._selected)} evaluators failed: "
                + ", ".join(self._errors),
                list(self._errors.values()),
            )


def _line(name: str, step: int, values: auxiliaries.AuxiliariesOutput) -> str:
    shown = {"loss": values.loss_values.get("losses/total"), **values.metric_values}
    numbers = [
        f"{key.split('/', 1)[-1]} {float(np.asarray(value)):.4g}"
        for key, value in shown.items()
        if value is not None and np.size(value) == 1
    ]
    return "  ".join([f"  [{name}] step {step}", *numbers[:5]])
