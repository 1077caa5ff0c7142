"""Forward passes of an evaluator: as it is, and with dropout."""

from __future__ import annotations

from typing import Any

from kauldron import step as step_lib
from kauldron.evals import evaluators
from kauldron.sharding import TrainState
from kauldron.step import dropping as dropping_lib
from kauldron.step.context import Context


def as_it_is(
    evaluator: evaluators.Evaluator, index: Any, state: TrainState, batch: Any
) -> Any:
    """Returns what an evaluator lets its model predict."""
    return evaluator._forward(index, state, batch).preds


def dropping(
    evaluator: evaluators.Evaluator, index: Any, state: TrainState, batch: Any
) -> Any:
    """Returns the same with dropout that drops."""
    run = evaluator.base_cfg
    streams = run.rng_streams
    with dropping_lib.dropping():
        return step_lib.forward(
            Context.from_state_and_batch(state=state, batch=batch),
            model=evaluator.model,
            rngs={**streams.train_rngs(index), **streams.eval_rngs(index)},
            is_training=False,
            method=evaluator.model_method,
            capture=False,
            precision=run.precision,
        ).preds
