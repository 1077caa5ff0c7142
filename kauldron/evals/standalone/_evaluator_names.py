"""Resolving the evaluator names given to a command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jax

from kauldron._base import errors
from kauldron.evals import base


class EvalNameError(errors.UserError, ValueError):
    """A name of no evaluator, or of one that cannot run like this."""


def select(
    evals: Mapping[str, base.EvaluatorBase], names: Iterable[str] | str
) -> dict[str, base.EvaluatorBase]:
    """Returns the evaluators with the given names, each once, in the order given.

    Raises:
      EvalNameError: If there is no such evaluator.
    """
    names = names.split(",") if isinstance(names, str) else names
    selected = {}
    for name in map(str.strip, names):
        if name not in evals:
            known = f"There are {sorted(evals)}." if evals else "There are none."
            hint = errors.did_you_mean(name, evals)
            raise EvalNameError(
                f"No evaluator is called {name!r} in `cfg.evals`. {known}{hint}"
            )
        selected[name] = evals[name]
    if not selected:
        raise EvalNameError(
            f"Say which evaluators of `cfg.evals` to run. There are {sorted(evals)}."
        )
    return selected


def check_names(trainer: base.Run, names: Iterable[str] | str) -> None:
    """Finds names that `continuous_eval` cannot run.

    Raises:
      EvalNameError: If there is no such evaluator, or it runs inside the training.
    """
    selected = select(trainer.evals, names)
    for name, evaluator in selected.items():
        if evaluator.run.is_along_train and not trainer.setup.eval_only:
            raise EvalNameError(
                f"The evaluator {name!r} runs inside the training "
                f"(`{type(evaluator.run).__name__}`), not in a process of its own. Give "
                f"`cfg.evals[{name!r}].run` a strategy such as "
                "`kd.evals.StandaloneEveryCheckpoint()`; or, for a run that exists, use "
                "`kauldron eval --workdir=...`."
            )


class ProcessesError(errors.UserError, RuntimeError):
    """More processes than one do what one has to do."""


def check_one_process() -> None:
    """Raises `ProcessesError` if this is one of several processes of a program."""
    if jax.process_count() > 1:
        raise ProcessesError(
            "An evaluation apart from the training runs in one process: start it without "
            "`jax.distributed`."
        )
