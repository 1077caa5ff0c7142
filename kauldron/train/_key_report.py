"""Finds every key and shape of a run that does not fit, without compiling anything.

The steps of a run are followed on abstract arrays (`jax.eval_shape`): what the model
returns, then what losses, metrics and summaries ask for. A part that fails is noted, and
what does not depend on it is still checked, so that one report tells everything.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax

from kauldron import evals, kontext, metrics
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, intermediates, module_errors, train_step
from kauldron.step.context import Context
from kauldron.train import _text_keys

_MODEL = "cfg.model"


class CheckError(kontext.KeyPathError, ValueError):
    """Keys or shapes of a run don't fit; `problems` has each of them."""

    def __init__(self, problems: list[kontext.KeyProblem]) -> None:
        listed = "\n".join(f"- {p}".replace("\n", "\n  ") for p in problems)
        count = "This does not fit" if len(problems) == 1 else "These do not fit"
        super().__init__(f"{count} together:\n{listed}", problems)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the errors behind them, which nobody may be able to pickle.
        return type(self), ([_without_error(p) for p in self.problems],)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What one pass over the data runs: training, or one evaluator."""

    model: Any
    model_name: str
    model_method: Any
    groups: Mapping[str, Any]  # as the user wrote it -> tree of metrics
    make_rngs: Callable[[Any], Any]
    is_training: bool
    precision: Any


def check(trainer: Any) -> list[kontext.KeyProblem]:
    """Returns all problems of a trainer, each once."""
    problems: list[kontext.KeyProblem] = []
    state = _initial_state(trainer, problems)
    training = _Parts(
        model=trainer.model,
        model_name=_MODEL,
        model_method=None,
        groups={
            "cfg.train_losses": trainer.train_losses,
            "cfg.train_metrics": trainer.train_metrics,
            "cfg.train_summaries": trainer.train_summaries,
        },
        make_rngs=trainer.rng_streams.train_rngs,
        is_training=True,
        precision=trainer.precision,
    )
    context = _initial_context(state, trainer.train_ds)
    after = _run_model(training, context, problems)
    context, failure = _after_update(trainer, after or context)
    # An own step may leave the model out, and then measures what it likes.
    is_run = after is not None and (after.preds is None or context.preds is not None)
    _check_groups(training.groups, context, problems, has_preds=is_run)
    if failure is not None and not problems:
        problems += _failure_of_step(trainer, context)
    for name, evaluator in trainer.evals.items():
        if isinstance(evaluator, evals.Evaluator) and state is not None:
            found = _check_evaluator(trainer, name, evaluator, state)
            problems += _say_where(found, name, known=problems)
        elif isinstance(evaluator, evals.FewShotEvaluator) and state is not None:
            problems += _check_few_shot(name, evaluator, state)
    return list(dict.fromkeys(_text_keys.tell_texts(problems, trainer.train_ds)))


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


def _initial_state(trainer: Any, problems: list[kontext.KeyProblem]) -> Any:
    """Returns the abstract state; `None` if the model cannot be initialised."""
    before = _initial_context(None, trainer.train_ds)
    found = kontext.check_keys(before, trainer.model, prefix=_MODEL)
    if found:
        problems += found
        return None
    try:
        return trainer.state_specs
    except Exception as e:
        failure = e
    init = functools.partial(
        trainer.init_state, skip_transforms=True, skip_optimizer=True
    )
    try:
        state = jax.eval_shape(init)
    except Exception:
        problems.append(_failure(_MODEL, failure))
        return None
    inherits_optimizer = trainer.trainstep.optimizer is trainer.optimizer
    field = "cfg.optimizer" if inherits_optimizer else "cfg.trainstep"
    problems.append(_failure(field, failure))
    return state


def _initial_context(
    state: TrainState | None, ds: Any, field: str = "cfg.train_ds"
) -> Context:
    if state is None:
        state = TrainState(step=cast(Any, jax.ShapeDtypeStruct((), "int32")))
    with data_utils.Naming(field):
        batch = data_utils.batch_specs(ds.element_spec)
    return Context.from_state_and_batch(state=state, batch=batch)


def _run_model(
    parts: _Parts, context: Context, problems: list[kontext.KeyProblem]
) -> Context | None:
    """Returns the context after the forward pass; `None` if there is none."""
    found = kontext.check_keys(context, parts.model, prefix=parts.model_name)
    if found or context.params is None:
        problems += found
        return None
    try:
        return jax.eval_shape(
            lambda c: train_step.forward(
                c,
                model=parts.model,
                rngs=parts.make_rngs(c.step),
                is_training=parts.is_training,
                method=parts.model_method,
                precision=parts.precision,
            ),
            context,
        )
    except Exception as e:
        problems.append(_failure(parts.model_name, e))
        return None


def _after_update(trainer: Any, context: Context) -> tuple[Context, Exception | None]:
    """Returns the context at the end of a step, as the user's own step leaves it.

    If the step fails, it is what is known of it, with the error.
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
    without_update = dataclasses.replace(
        context,
        loss_total=jax.ShapeDtypeStruct((), "float32"),
        grads=context.params,
        updates=context.params,
    )
    return without_update, failure


def _failure_of_step(trainer: Any, context: Context) -> list[kontext.KeyProblem]:
    """Returns what is wrong with the step where losses and metrics are fine.

    The step is traced again as it will run: what only fails with all intermediates
    recorded does no harm.

    Raises:
      Exception: What the step raises, unless it says that it is the user's mistake.
    """
    try:
        jax.eval_shape(
            trainer.trainstep._whole_step, trainer.state_specs, context.batch
        )
    except errors.UserError as e:
        return [_failure("cfg.trainstep", e)]
    except Exception as e:
        e.add_note(
            f"In the update of `cfg.trainstep` ({type(trainer.trainstep).__name__}) with "
            "`cfg.optimizer`, before anything was compiled."
        )
        raise
    return []


def _check_groups(
    groups: Mapping[str, Any],
    context: Context,
    problems: list[kontext.KeyProblem],
    *,
    has_preds: bool = True,
) -> None:
    """Notes what does not fit; what waits for a model that fails is left out."""
    for group, tree in groups.items():
        for field, metric in _flatten(group, tree):
            problems += [
                p
                for p in _check_metric(field, metric, context)
                if has_preds or not _waits_for_model(p)
            ]


def _check_metric(
    field: str, metric: metrics.Metric, context: Context
) -> list[kontext.KeyProblem]:
    is_wired_by_keys = type(metric)._resolve_kwargs in intermediates.KEY_WIRING
    if is_wired_by_keys:
        found = kontext.check_keys(context, metric, prefix=field)
        if found:
            return found
    try:
        jax.eval_shape(metric.get_state_from_context, context)
    except kontext.KeyPathError as e:
        return [dataclasses.replace(p, field=f"{field}: {p.field}") for p in e.problems]
    except Exception as e:
        return [_failure(field, e)]
    return []


def _waits_for_model(problem: kontext.KeyProblem) -> bool:
    """Whether the reason stands elsewhere in the report: there are no predictions."""
    first = problem.path.split(".")[0].split("[")[0]
    return first in ("preds", "interms", "collections")


def _check_evaluator(
    trainer: Any, name: str, evaluator: evals.Evaluator, state: TrainState
) -> list[kontext.KeyProblem]:
    problems: list[kontext.KeyProblem] = []
    where = f"cfg.evals[{name!r}]"
    inherits_ds = evaluator.ds is trainer.eval_ds
    ds, ds_name = evaluator.ds.for_evaluation(), f"{where}.ds"
    context = _initial_context(state, ds, "cfg.eval_ds" if inherits_ds else ds_name)
    if type(evaluator)._step is not evals.Evaluator._step:
        try:
            step_nr = jax.ShapeDtypeStruct((), "int32")
            jax.eval_shape(evaluator._step, step_nr, state, context.batch)
        except Exception as e:
            problems.append(_failure(where, e))
        return problems
    inherits_model = evaluator.model is trainer.model
    parts = _Parts(
        model=evaluator.model,
        model_name=_MODEL if inherits_model else f"{where}.model",
        model_method=evaluator.model_method,
        groups={
            _name_of_group(trainer, where, evaluator, group): getattr(evaluator, group)
            for group in ("losses", "metrics", "summaries")
        },
        make_rngs=trainer.rng_streams.eval_rngs,
        is_training=False,
        precision=trainer.precision,
    )
    if type(evaluator)._forward is evals.Evaluator._forward:
        after = _run_model(parts, context, problems)
    else:
        after = _run_own_forward(evaluator, where, state, context, problems)
    if after is not None:
        _check_groups(parts.groups, after, problems)
        if evaluator.outputs is not None:
            problems += _check_outputs(evaluator, where, after)
    return _text_keys.tell_texts(problems, ds)


def _run_own_forward(
    evaluator: evals.Evaluator,
    where: str,
    state: TrainState,
    context: Context,
    problems: list[kontext.KeyProblem],
) -> Context | None:
    step_nr = jax.ShapeDtypeStruct((), "int32")
    try:
        with intermediates.capture_all():
            return jax.eval_shape(evaluator._forward, step_nr, state, context.batch)
    except Exception as e:
        problems.append(_failure(where, e))
        return None


def _check_outputs(
    evaluator: Any, where: str, context: Context
) -> list[kontext.KeyProblem]:
    # With the texts, which never come to a device but can be written.
    batch = evaluator.ds.for_evaluation().element_spec
    context = dataclasses.replace(context, batch=batch)
    return evaluator.outputs.check(context, prefix=f"{where}.outputs")


def _check_few_shot(
    name: str, evaluator: evals.FewShotEvaluator, state: TrainState
) -> list[kontext.KeyProblem]:
    problems: list[kontext.KeyProblem] = []
    where = f"cfg.evals[{name!r}]"
    for field, ds in evaluator.datasets().items():
        context = _initial_context(state, ds.for_evaluation(), f"{where}.{field}")
        after = _run_own_forward(
            evaluator.forward, f"{where}.{field}", state, context, problems
        )
        if after is not None and not problems:
            problems += evaluator.check(after, prefix=where)
    return problems


def _name_of_group(trainer: Any, where: str, evaluator: Any, group: str) -> str:
    inherited = getattr(evaluator, group) is getattr(trainer, f"train_{group}")
    return f"cfg.train_{group}" if inherited else f"{where}.{group}"


@dataclasses.dataclass(frozen=True)
class _Failure(kontext.KeyProblem):
    """The problem of a part that has raised an error."""

    error: Exception | None = dataclasses.field(default=None, compare=False, repr=False)


def _failure(field: str, error: Exception) -> kontext.KeyProblem:
    kind = "" if isinstance(error, errors.UserError) else f"{type(error).__name__}: "
    detail = f"{kind}{module_errors.describe(error)}"
    return _Failure(field=field, path="", kind="failure", detail=detail, error=error)


def _without_error(p: kontext.KeyProblem) -> kontext.KeyProblem:
    return dataclasses.replace(p, error=None) if isinstance(p, _Failure) else p


def cause_of(problems: list[kontext.KeyProblem]) -> Exception | None:
    """Returns the first error that was raised by a part of the run."""
    found = [p.error for p in problems if isinstance(p, _Failure)]
    return found[0] if found else None


def problem(field: str, detail: str) -> kontext.KeyProblem:
    """Returns a problem that is none of a key."""
    return kontext.KeyProblem(field=field, path="", kind="failure", detail=detail)


def _flatten(prefix: str, tree: Any) -> Iterator[tuple[str, metrics.Metric]]:
    """Yields each metric of a tree under the name the user wrote."""
    if isinstance(tree, metrics.Metric):
        yield prefix, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flatten(f"{prefix}[{key!r}]", value)
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _flatten(f"{prefix}[{i}]", value)
