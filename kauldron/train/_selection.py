"""Checks that checkpoint selection and early stopping use metrics that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron import checkpoints, kontext
from kauldron.step import key_checks
from kauldron.train import _key_report, _run_description, hooks


def check(trainer: _run_description.RunDescription) -> list[kontext.KeyProblem]:
    """Checks evaluators and metrics by which checkpoints are chosen and runs end."""
    fields: dict[str, tuple[str, object]] = {
        "cfg.checkpointer": ("best_metric_path", trainer.checkpointer)
    }
    for name, hook in trainer.hooks.items():
        fields[f"cfg.hooks[{name!r}]"] = ("metric", hook)
    measured = {name: e.measures() for name, e in trainer.evals.items()}
    known = {k: dict.fromkeys(v, 0.0) for k, v in measured.items() if v is not None}
    # What others measure is known when they have run.
    unknown = {name: {} for name in trainer.evals if name not in known}
    problems = []
    for prefix, (field, owner) in fields.items():
        path = getattr(owner, field, None)
        is_checked = isinstance(
            owner, checkpoints.BaseCheckpointer | hooks.WatchesMetric
        )
        if not is_checked or path is None:
            continue
        evaluator = trainer.evals.get(path.split(".")[0])
        if evaluator is not None and not evaluator.run.is_along_train:
            detail = (
                f"{path!r} is not known to the training: the evaluator "
                f"{evaluator.name!r} runs in a process of its own. Choose by one that "
                "runs along the training."
            )
            problems.append(key_checks.problem(f"{prefix}.{field}", detail))
        elif path.split(".")[0] not in unknown:
            keys = {field: ".".join(path.split(".")[:2])}
            problems += kontext.check_keys(known | unknown, keys, prefix=prefix)
    return problems + _mode_problems(trainer)


def _mode_problems(
    trainer: _run_description.RunDescription,
) -> list[kontext.KeyProblem]:
    """Finds a hook whose `mode` for a metric is the opposite of the checkpointer's."""
    checkpointer: Any = trainer.checkpointer
    chosen_by = getattr(checkpointer, "best_metric_path", None)
    if chosen_by is None:
        return []
    parts, mode = kontext.Path.from_str(chosen_by).parts, checkpointer.best_mode
    return [
        key_checks.problem(
            f"cfg.hooks[{name!r}].mode",
            f"{hook.metric!r} is best when it is {hook.mode!r}, for the checkpointer when "
            f"it is {mode!r} (`cfg.checkpointer.best_mode`). Make them the same.",
        )
        for name, hook in trainer.hooks.items()
        if isinstance(hook, hooks.WatchesMetric)
        and kontext.Path.from_str(hook.metric).parts == parts
        and hook.mode != mode
    ]


def check_measured(checkpointer: Any, measured: Mapping[str, Any]) -> None:
    """Finds that the best-checkpoint metric is not one of its evaluator's metrics.

    Args:
      checkpointer: With `best_metric_path`.
      measured: `{evaluator: {metric: value}}` of the evaluators that did run.

    Raises:
      CheckError: If its evaluator did run, and measured no such number.
    """
    path = getattr(checkpointer, "best_metric_path", None)
    if path is None or path.partition(".")[0] not in measured:
        return
    field = "cfg.checkpointer.best_metric_path"
    problems = kontext.check_keys(
        measured, {"best_metric_path": path}, prefix="cfg.checkpointer"
    )
    if not problems and np.size(kontext.get_by_path(measured, path)) != 1:
        problems = [key_checks.problem(field, f"{path!r} is no single number.")]
    if problems:
        raise _key_report.CheckError(problems)
