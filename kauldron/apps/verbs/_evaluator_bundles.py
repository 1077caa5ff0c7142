"""Apps of evaluators that predict files: their config, what it needs, weights."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from kauldron import checkpoints, runs
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.verbs import _configs, _layout, _made

# Fields of an evaluator that have no part in predicting.
_MEASURES = ("losses", "metrics", "summaries")


def write(
    folder: pathlib.Path,
    trainer: Any,
    cfg: Any,
    *,
    step: int | str | None,
    members: Sequence[int | str],
    name: str,
    first_step: int,
) -> _made.Made:
    """Writes what predicts; returns what it is.

    Args:
      folder: Of the app.
      trainer: The run.
      cfg: Its config.
      step: Which checkpoint.
      members: Further ones.
      name: Of the evaluator.
      first_step: Updates that the weights had seen before the run.
    """
    evaluator = trainer.evals[name]
    interface = evaluator.file_interface()
    if members and not interface.combines_members:
        raise AppError(
            f"The evaluator {name!r}, a {type(evaluator).__name__}, predicts with one "
            f"checkpoint: leave out the members {list(members)}."
        )
    pruned = evaluator.file_config(_configs.without_training(cfg, keep_eval=name))
    node = pruned.evals[name]
    if "init_transform" in node:  # the weights are those behind it
        del node["init_transform"]
    own_measures = _configs.take_foreign(node, _MEASURES)
    _configs.write(pruned, folder / _layout.PREDICTS)
    if own_measures:
        _configs.write(own_measures, folder / _layout.METRICS)
    own = getattr(evaluator, "init_transform", checkpoints.NoopTransform())
    transform = own.transform
    first = transform(runs.restore_state(trainer, step))
    names = _made.write_members(
        folder,
        trainer,
        first,
        members or interface.members,
        transform,
        first_step=first_step,
    )
    return _made.Made(
        interface=interface,
        members=names,
        step=first_step + int(first.step),
        can_evaluate=bool(interface.references),
        allowed_overrides=[f"evals.{name}.{x}" for x in interface.settings],
    )
