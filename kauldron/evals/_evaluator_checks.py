"""Static checks of evaluators: keys and shapes that do not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
from flax import linen as nn

from kauldron import data, kontext
from kauldron.evals import base, write_outputs
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, intermediates, key_checks, text_keys
from kauldron.step.context import Context


class _Evaluator(Protocol):
    """What is asked of an `Evaluator`."""

    _own_methods: ClassVar[frozenset[str]]

    @property
    def ds(self) -> data.Pipeline: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def model_method(self) -> str | Callable[..., Any] | None: ...
    @property
    def losses(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def summaries(self) -> Mapping[str, Any]: ...
    @property
    def outputs(self) -> write_outputs.WriteOutputs | None: ...

    def _forward(self, step_nr: Any, state: TrainState, batch: Any) -> Context: ...

    def _step(
        self, step_nr: Any, state: TrainState, batch: Any
    ) -> auxiliaries.AuxiliariesState: ...


def check(
    evaluator: _Evaluator, run: base.Run, state: TrainState, *, field: str
) -> list[kontext.KeyProblem]:
    """Returns the problems of an evaluator, see `EvaluatorBase.check`."""
    problems: list[kontext.KeyProblem] = []
    ds = evaluator.ds.for_evaluation()
    ds_field = "cfg.eval_ds" if evaluator.ds is run.eval_ds else f"{field}.ds"
    context = key_checks.initial_context(state, ds, field=ds_field)
    if "_step" in evaluator._own_methods:
        # It may measure anything.
        follow(evaluator._step, context, problems, state=state, field=field)
        return problems
    if "_forward" in evaluator._own_methods:
        after = follow(evaluator._forward, context, problems, state=state, field=field)
    else:
        after = key_checks.run_model(
            _forward_pass(evaluator, run, field), context, problems
        )
    if after is not None:
        key_checks.check_groups(_groups(evaluator, run, field), after, problems)
        if evaluator.outputs is not None:
            # With text columns, which never reach a device but can be written.
            after = dataclasses.replace(after, batch=ds.element_spec)
            problems += evaluator.outputs.check(after, prefix=f"{field}.outputs")
    return text_keys.tell_texts(problems, ds)


def follow(
    function: Callable[..., Any],
    context: Context,
    problems: list[kontext.KeyProblem],
    *,
    state: TrainState,
    field: str,
) -> Any:
    """Returns what a forward pass or a step gives; notes the error if it fails.

    Args:
      function: Of the number of the batch, the state and the batch.
      context: Before it.
      problems: List to append to.
      state: The abstract state.
      field: The config field that errors name.
    """
    step_nr = jax.ShapeDtypeStruct((), "int32")
    try:
        with intermediates.capture_all():
            return jax.eval_shape(function, step_nr, state, context.batch)
    except Exception as e:
        problems.append(key_checks.failure(field, e))
        return None


def _forward_pass(
    evaluator: _Evaluator, run: base.Run, field: str
) -> key_checks.ForwardPass:
    return key_checks.ForwardPass(
        model=evaluator.model,
        field="cfg.model" if evaluator.model is run.model else f"{field}.model",
        method=evaluator.model_method,
        make_rngs=run.rng_streams.eval_rngs,
        is_training=False,
        precision=run.precision,
    )


def _groups(
    evaluator: _Evaluator, run: base.Run, field: str
) -> dict[str, Mapping[str, Any]]:
    """Returns losses, metrics and summaries under the names the user wrote."""
    groups = {}
    for name in ("losses", "metrics", "summaries"):
        group = getattr(evaluator, name)
        is_inherited = group is getattr(run, f"train_{name}")
        groups[f"cfg.train_{name}" if is_inherited else f"{field}.{name}"] = group
    return groups
