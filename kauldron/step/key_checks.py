"""Static checks of keys and shapes on abstract arrays: nothing is compiled.

A step is followed as `jax.eval_shape` does: what the model returns, then what losses,
metrics and summaries ask for. A part that fails is noted, and what does not depend on it
is still checked, so that one report has everything.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax

from kauldron import data, kontext, metrics
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.sharding import TrainState
from kauldron.step import mixed_precision, module_errors
from kauldron.step._forward import forward
from kauldron.step.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """How a model is run: in training, or by one evaluator.

    Attributes:
      model: The model.
      field: How the user wrote it, such as `cfg.model`.
      method: Its method that is called; `None` is `__call__`.
      make_rngs: Step -> random keys.
      is_training: Whether dropout is on.
      precision: Dtypes of the model.
    """

    model: Any
    field: str
    method: str | Callable[..., Any] | None = None
    make_rngs: Callable[[Any], Any]
    is_training: bool
    precision: mixed_precision.Precision | None


def initial_context(
    state: TrainState | None, ds: data.IterableDataset, *, field: str
) -> Context:
    """Returns the context before the forward pass.

    Args:
      state: The abstract state; `None` if there is none.
      ds: Where batches come from.
      field: How the user wrote it.
    """
    if state is None:
        state = TrainState(step=cast(Any, jax.ShapeDtypeStruct((), "int32")))
    with data_utils.Naming(field):
        batch = data_utils.batch_specs(ds.element_spec)
    return Context.from_state_and_batch(state=state, batch=batch)


def run_model(
    forward_pass: ForwardPass, context: Context, problems: list[kontext.KeyProblem]
) -> Context | None:
    """Returns the context after the forward pass; notes what keeps it from running."""
    found = kontext.check_keys(context, forward_pass.model, prefix=forward_pass.field)
    if found or context.params is None:
        problems += found
        return None
    try:
        return jax.eval_shape(
            lambda c: forward(
                c,
                model=forward_pass.model,
                rngs=forward_pass.make_rngs(c.step),
                is_training=forward_pass.is_training,
                method=forward_pass.method,
                precision=forward_pass.precision,
            ),
            context,
        )
    except Exception as e:
        problems.append(failure(forward_pass.field, e))
        return None


def check_groups(
    groups: Mapping[str, Any],
    context: Context,
    problems: list[kontext.KeyProblem],
    *,
    has_preds: bool = True,
    is_followed: bool = False,
) -> None:
    """Notes which keys of losses, metrics and summaries do not fit.

    Args:
      groups: As the user wrote it -> tree of metrics.
      context: After the forward pass, or later in a step.
      problems: List to append to.
      has_preds: Whether the model could run; if not, what depends on it is skipped.
      is_followed: Whether they have measured such a context: only keys are checked.
    """
    for group, tree in groups.items():
        for field, metric in _flatten(group, tree):
            if not isinstance(metric, metrics.Metric):
                problems += _check_other(field, metric)
                continue
            problems += [
                p
                for p in _check_metric(field, metric, context, is_followed=is_followed)
                if has_preds or not _waits_for_model(p)
            ]


def _check_other(field: str, value: object) -> list[kontext.KeyProblem]:
    """Finds what cannot measure anything, where a loss or metric belongs."""
    if isinstance(value, type):
        detail = f"got the class `{value.__name__}`. Call it: `{value.__name__}(...)`."
    elif not hasattr(value, "get_state_from_context"):
        detail = (
            "must be a loss, metric or summary, such as `kd.metrics.Accuracy(...)`: got "
            f"{reprlib.repr(value)} ({type(value).__name__})."
        )
    else:
        return []
    return [problem(field, detail)]


def _check_metric(
    field: str, metric: metrics.Metric, context: Context, *, is_followed: bool
) -> list[kontext.KeyProblem]:
    found = metric.check_keys(context, field=field)
    if found or is_followed:
        return found
    try:
        jax.eval_shape(metric.get_state_from_context, context)
    except kontext.KeyPathError as e:
        return [dataclasses.replace(p, field=f"{field}: {p.field}") for p in e.problems]
    except Exception as e:
        return [failure(field, e)]
    return []


def _waits_for_model(problem: kontext.KeyProblem) -> bool:
    """Whether the report already has the reason: there are no predictions."""
    first = problem.path.split(".")[0].split("[")[0]
    return first in ("preds", "interms", "collections")


@dataclasses.dataclass(frozen=True)
class _Failure(kontext.KeyProblem):
    """The problem of a part that has raised an error."""

    error: Exception | None = dataclasses.field(default=None, compare=False, repr=False)


def failure(field: str, error: Exception) -> kontext.KeyProblem:
    """Returns the problem of a part that has raised an error."""
    kind = "" if isinstance(error, errors.UserError) else f"{type(error).__name__}: "
    detail = f"{kind}{module_errors.describe(error)}"
    return _Failure(field=field, path="", kind="failure", detail=detail, error=error)


def without_error(p: kontext.KeyProblem) -> kontext.KeyProblem:
    """Returns the problem without the error behind it."""
    return dataclasses.replace(p, error=None) if isinstance(p, _Failure) else p


def cause_of(problems: list[kontext.KeyProblem]) -> Exception | None:
    """Returns the first error that was raised by a part of the run."""
    found = [p.error for p in problems if isinstance(p, _Failure)]
    return found[0] if found else None


def problem(field: str, detail: str) -> kontext.KeyProblem:
    """Returns a problem that is not about a key."""
    return kontext.KeyProblem(field=field, path="", kind="failure", detail=detail)


def _flatten(prefix: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Yields each leaf of a tree, a metric or not, under the name the user wrote."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flatten(f"{prefix}[{key!r}]", value)
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _flatten(f"{prefix}[{i}]", value)
    elif tree is not None:
        yield prefix, tree
