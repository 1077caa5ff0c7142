"""Static checks of every key and shape of a run, without compiling anything.

The training step is followed on abstract arrays, see `kauldron.step.key_checks`; the
evaluators check their own.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax

from kauldron import kontext, sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.sharding import TrainState
from kauldron.step import (
    auxiliaries,
    intermediates,
    key_checks,
    looking,
    text_keys,
    train_step,
)
from kauldron.step.context import Context
from kauldron.train import _run_description

_MODEL = "cfg.model"
_DATA = "cfg.train_ds"
_SHARDING = "cfg.sharding"
# What makes a step one that is known; others are followed part by part.
_METHODS = ("step", "_step", "forward", "compute_grads", "apply_grads", "_whole_step")


class CheckError(kontext.KeyPathError, ValueError):
    """Keys or shapes of a run don't fit; `problems` has each of them."""

    def __init__(self, problems: list[kontext.KeyProblem]) -> None:
        listed = "\n".join(f"- {p}".replace("\n", "\n  ") for p in problems)
        count = "This does not fit" if len(problems) == 1 else "These do not fit"
        super().__init__(f"{count} together:\n{listed}", problems)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the underlying errors, which may not be picklable.
        return type(self), ([key_checks.without_error(p) for p in self.problems],)


def check(trainer: _run_description.RunDescription) -> list[kontext.KeyProblem]:
    """Returns all problems of a trainer, each once."""
    problems: list[kontext.KeyProblem] = []
    state = _initial_state(trainer, problems)
    context = key_checks.initial_context(state, trainer.train_ds, field=_DATA)
    if not _fits(trainer, context):
        after = key_checks.run_model(_forward_pass(trainer), context, problems)
        problems += _problems_of_step(trainer, after, context, known=problems)
    problems = text_keys.tell_texts(problems, trainer.train_ds)
    if state is not None:
        for name in trainer.evals:
            found = _ask_evaluator(trainer, name, state)
            problems += _say_where(found, name, known=problems)
    return list(dict.fromkeys(problems))


def _fits(trainer: _run_description.RunDescription, context: Context) -> bool:
    """Whether the step can be followed as it will run, and all keys are there.

    JAX keeps what it has traced: the first step need not be followed again, as it would
    after a look at every part of it, which is for telling what is wrong.

    Args:
      trainer: The run.
      context: Before the forward pass.
    """
    trainstep: Any = trainer.trainstep
    plain = train_step.TrainStep
    is_plain = all(getattr(type(trainstep), n) is getattr(plain, n) for n in _METHODS)
    if not is_plain or trainstep.optimizer is None or context.params is None:
        return False
    if kontext.check_keys(context, trainer.model, prefix=_MODEL):
        return False
    placement = trainer.sharding.batch
    is_halted = None
    if trainer.nan_guard is not None:
        is_halted = jax.ShapeDtypeStruct((), bool)
    try:
        batch = data_utils.get_global_elem_spec(context.batch, placement)
        after = looking.trace_step(
            trainstep,
            trainer.state_specs,
            sharding.with_sharding_constraint(batch, placement),
            is_halted,
            return_losses=True,
            return_metrics=True,
            return_summaries=bool(trainer.train_summaries),
            checkify_error_categories=trainer.checkify_error_categories,
        )
    except Exception:  # told with the part that has raised it
        return False
    if after is None:
        return False
    problems: list[kontext.KeyProblem] = []
    key_checks.check_groups(_groups(trainer), after, problems, is_followed=True)
    return not problems


def _groups(trainer: _run_description.RunDescription) -> dict[str, Any]:
    return {
        "cfg.train_losses": trainer.train_losses,
        "cfg.train_metrics": trainer.train_metrics,
        "cfg.train_summaries": trainer.train_summaries,
    }


def _problems_of_step(
    trainer: _run_description.RunDescription,
    after: Context | None,
    context: Context,
    *,
    known: list[kontext.KeyProblem],
) -> list[kontext.KeyProblem]:
    """Returns what does not fit in a step, looking at its parts.

    Args:
      trainer: The run.
      after: The context after the forward pass; `None` if that fails.
      context: The one before.
      known: What is wrong with the forward pass.
    """
    context, failure = _after_update(trainer, after or context)
    # A custom step may leave the model out, and then measures what it likes.
    is_run = after is not None and (after.preds is None or context.preds is not None)
    problems: list[kontext.KeyProblem] = []
    key_checks.check_groups(_groups(trainer), context, problems, has_preds=is_run)
    if failure is not None and not problems and not known:
        problems += _failure_of_step(trainer, context)
    return problems


def _forward_pass(trainer: _run_description.RunDescription) -> key_checks.ForwardPass:
    return key_checks.ForwardPass(
        model=trainer.model,
        field=_MODEL,
        make_rngs=trainer.rng_streams.train_rngs,
        is_training=True,
        precision=trainer.precision,
    )


def _ask_evaluator(
    trainer: _run_description.RunDescription, name: str, state: TrainState
) -> list[kontext.KeyProblem]:
    field = f"cfg.evals[{name!r}]"
    try:
        found = trainer.evals[name].check(trainer, state, field=field)
        if not all(isinstance(p, kontext.KeyProblem) for p in found):
            raise TypeError(
                f"`check` must return a list of `KeyProblem`: got {found!r}."
            )
        return list(found)
    except errors.UserError:  # such as of data that cannot be read, which says it all
        raise
    except Exception as e:
        return [key_checks.failure(field, e)]


def _say_where(
    found: list[kontext.KeyProblem], name: str, *, known: list[kontext.KeyProblem]
) -> list[kontext.KeyProblem]:
    """Adds the evaluator to fields that it inherits; drops what is known already."""
    where = f"cfg.evals[{name!r}]"
    told = {(p.field.partition(" (in ")[0], p.path) for p in known}
    return [
        p
        if p.field.startswith(where)
        else dataclasses.replace(p, field=f"{p.field} (in {where})")
        for p in found
        if (p.field, p.path) not in told
    ]


def _initial_state(
    trainer: _run_description.RunDescription, problems: list[kontext.KeyProblem]
) -> TrainState | None:
    """Returns the abstract state; `None` if the model cannot be initialised."""
    before = key_checks.initial_context(None, trainer.train_ds, field=_DATA)
    found = kontext.check_keys(before, trainer.model, prefix=_MODEL)
    if found:
        problems += found
        return None
    try:
        return trainer.state_specs
    except sharding.MeshError as e:
        problems.append(key_checks.failure(_SHARDING, e))
        return None
    except Exception as e:
        failure = e
    init = functools.partial(
        trainer.init_state, skip_transforms=True, skip_optimizer=True
    )
    try:
        state = jax.eval_shape(init)
    except Exception:
        problems.append(key_checks.failure(_MODEL, failure))
        return None
    inherits_optimizer = trainer.trainstep.optimizer is trainer.optimizer
    field = "cfg.optimizer" if inherits_optimizer else "cfg.trainstep"
    problems.append(key_checks.failure(field, failure))
    return state


def _after_update(
    trainer: _run_description.RunDescription, context: Context
) -> tuple[Context, Exception | None]:
    """Returns the context at the end of a step, as the user's own step leaves it.

    If the step fails, the context holds what is known of it, and comes with the error.
    """
    failure = None
    without_measurements = trainer.trainstep.replace(
        aux=auxiliaries.Auxiliaries(
            losses=trainer.train_losses, metrics={}, summaries={}
        )
    )
    # A run that only evaluates has no update.
    if context.preds is not None and trainer.trainstep.optimizer is not None:
        try:
            with intermediates.capture_all():
                _, filled = jax.eval_shape(
                    without_measurements._whole_step, trainer.state_specs, context.batch
                )
            return filled, None
        except Exception as e:  # of a loss too, which is reported where it is checked
            failure = e
    return _without_update(context), failure


def _without_update(context: Context) -> Context:
    """Returns a context with all that an update leaves in it, as far as that is known."""
    return dataclasses.replace(
        context,
        loss_total=jax.ShapeDtypeStruct((), "float32"),
        grads=context.params,
        updates=context.params,
    )


def _failure_of_step(
    trainer: _run_description.RunDescription, context: Context
) -> list[kontext.KeyProblem]:
    """Returns what is wrong with the step where losses and metrics are fine.

    The step is traced again as it will run: what only fails with all intermediates
    recorded does not matter.

    Raises:
      Exception: What the step raises, unless it says that it is the user's mistake.
    """
    try:
        jax.eval_shape(
            trainer.trainstep._whole_step, trainer.state_specs, context.batch
        )
    except errors.UserError as e:
        return [key_checks.failure("cfg.trainstep", e)]
    except Exception as e:
        e.add_note(
            f"In the update of `cfg.trainstep` ({type(trainer.trainstep).__name__}) with "
            "`cfg.optimizer`, before anything was compiled."
        )
        raise
    return []
