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
from kauldron.step import (
    auxiliaries,
    intermediates,
    key_checks,
    looking,
    shared_programs,
    text_keys,
)
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
    @property
    def discard_opt(self) -> bool: ...
    @property
    def _jitted_step(self) -> Callable[..., Any]: ...

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
    if _fits(evaluator, run, state, context, field=field):
        return []
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
        problems += _problems_of_outputs(evaluator, after, field)
    return text_keys.tell_texts(problems, ds)


def _fits(
    evaluator: _Evaluator,
    run: base.Run,
    state: TrainState,
    context: Context,
    *,
    field: str,
) -> bool:
    """Whether an evaluation can be followed as it will run, and all keys are there.

    JAX keeps what it has traced: the first evaluation need not be followed again, as it
    would after a look at every part of it, which is for telling what is wrong.

    Args:
      evaluator: The evaluator.
      run: The run it is part of.
      state: The abstract state.
      context: Before the forward pass.
      field: How the user wrote the evaluator.
    """
    step = evaluator._jitted_step
    if not isinstance(step, shared_programs.SharedJit):
        return False
    if kontext.check_keys(context, evaluator.model, prefix=field):
        return False
    if evaluator.discard_opt:
        state = dataclasses.replace(state, opt_state=None)
    try:
        after = looking.trace_evaluation(step, state, context.batch, run.sharding)
    except Exception:  # told with the part that has raised it
        return False
    if after is None:
        return False
    problems: list[kontext.KeyProblem] = []
    groups = _groups(evaluator, run, field)
    key_checks.check_groups(groups, after, problems, is_followed=True)
    return not problems + _problems_of_outputs(evaluator, after, field)


def _problems_of_outputs(
    evaluator: _Evaluator, after: Context, field: str
) -> list[kontext.KeyProblem]:
    """Returns what is wrong with the values that are to be written."""
    if evaluator.outputs is None:
        return []
    # With text columns, which never reach a device but can be written.
    ds = evaluator.ds.for_evaluation()
    after = dataclasses.replace(after, batch=ds.element_spec)
    return evaluator.outputs.check(after, prefix=f"{field}.outputs")


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
