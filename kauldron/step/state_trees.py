"""Trees of metric states, merged and computed one by one: failures stay isolated."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import flax.struct
import jax
import numpy as np

from kauldron.ktyping import Array, PyTree
from kauldron.metrics import base_state
from kauldron.step import _packed_values, measured_numbers

NUMBERS = (np.ndarray, np.generic, float)


class Failure(NamedTuple):
    """A state of a tree that could not be computed.

    Attributes:
      group: `losses`, `losses_raw`, `metrics` or `summaries`.
      keys: Where it is in the tree.
      error: What it has raised.
    """

    group: str
    keys: tuple[Any, ...]
    error: Exception

    def where(self, collection: str) -> str:
        """Returns the metric as the user wrote it: `cfg.evals['test'].metrics['x']`."""
        return config_path(self.group, self.keys, collection)


def config_path(group: str, keys: tuple[Any, ...], collection: str) -> str:
    """Returns what measures a value as the user wrote it.

    Args:
      group: `losses`, `losses_raw`, `metrics`, `summaries` or `schedules`.
      keys: Where it is in the tree of this group.
      collection: `train`, or the name of an evaluator.
    """
    field = group.removesuffix("_raw")
    if field == "schedules":
        owner = "cfg."
    elif collection == "train":
        owner = "cfg.train_"
    elif collection.startswith("$"):  # a writer that belongs to no run
        owner = ""
    else:
        owner = f"cfg.evals[{collection!r}]."
    what = f"{owner}{field}{''.join(f'[{key!r}]' for key in keys)}"
    return f"{what} (`log_raw`)" if group.endswith("_raw") else what


@flax.struct.dataclass
class FailedState(base_state.State):
    """Takes the place of a state whose `merge` or `finalize` has raised."""

    error: Exception = flax.struct.field(pytree_node=False, kw_only=True)

    def merge(self, other: object) -> Self:
        del other
        return self

    def compute(self) -> Any:
        raise self.error

    def compute_raw(self) -> Any:
        raise self.error


def merge(a: PyTree, b: PyTree) -> Any:
    """Merges two trees of states; `None` is the identity."""
    return _merge(a, b, lambda x, y: x.merge(y))


def merge_each(a: PyTree, b: PyTree) -> Any:
    """As `merge`; a state that cannot be merged becomes a `FailedState`."""

    def merge_one(x: Array, y: PyTree) -> Any:
        for state in (x, y):
            if isinstance(state, FailedState):
                return state
        try:
            return x.merge(y)
        except Exception as e:
            return FailedState(error=e, parent=x.parent)

    return _merge(a, b, merge_one)


def _merge(a: PyTree, b: PyTree, merge_one: Callable[[Any, Any], Any]) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return jax.tree.map(merge_one, a, b, is_leaf=base_state.State.isinstance)


def finalize_each(tree: PyTree) -> Any:
    """Returns the states finalized; one that raises becomes a `FailedState`."""

    def finalize(x: Array) -> Any:
        if not base_state.State.isinstance(x):
            return x
        try:
            return x.finalize()
        except Exception as e:
            return FailedState(error=e, parent=x.parent)

    states, structure = jax.tree.flatten(tree, is_leaf=base_state.State.isinstance)
    final = [finalize(x) for x in states]
    if all(map(operator.is_, final, states)):  # nearly always
        return tree
    return structure.unflatten(final)


def compute(
    group: str,
    tree: PyTree,
    *,
    compute_one: Callable[[Any], Any] = operator.methodcaller("compute"),
    failures: list[Failure] | None,
) -> Any:
    """Returns the values of a tree of states.

    Args:
      group: Name of the tree, see `Failure`.
      tree: The states, or `PackedState`s; `None` for none.
      compute_one: From a state to its value.
      failures: Collects what is raised, and values of losses and metrics that are not
        numbers; `{}` takes their places. `None` raises the first.
    """

    def compute_state(state: PyTree, keys: tuple[Any, ...]) -> Any:
        try:
            value = compute_one(state)
            if failures is not None and group != "summaries":
                _check_numbers(group, value)
        except Exception as e:
            if failures is None:
                e.add_note(f"While computing {'/'.join(map(str, (group, *keys)))!r}.")
                raise
            failures.append(Failure(group, keys, e))
            return {}
        return value

    return {} if tree is None else _map_states(compute_state, tree, ())


def values_at_step(
    schedules: Mapping[str, Callable[[int], Any]],
    step: int,
    failures: list[Failure],
) -> dict[str, np.ndarray]:
    """Returns the values of schedules at a step.

    Args:
      schedules: Name -> function of the step.
      step: The step.
      failures: Collects what they raise, and values that are not numbers.
    """
    values = {}
    for name, schedule in schedules.items():
        try:
            values[name] = measured_numbers.to_numbers(
                f"schedules/{name}", schedule(step)
            )
        except Exception as e:
            failures.append(Failure("schedules", (name,), e))
    return values


def _map_states(
    fn: Callable[[Any, tuple[Any, ...]], Any], tree: PyTree, keys: tuple[Any, ...]
) -> Any:
    if isinstance(tree, _packed_values.PackedState) or base_state.State.isinstance(
        tree
    ):
        return fn(tree, keys)
    if isinstance(tree, Mapping):
        return {k: _map_states(fn, v, (*keys, k)) for k, v in tree.items()}
    return [_map_states(fn, v, (*keys, i)) for i, v in enumerate(tree)]


def _check_numbers(name: str, value: object) -> None:
    children = children_of(value)
    if children is None:
        measured_numbers.to_numbers(name, value)
    else:
        for key, child in children:
            _check_numbers(f"{name}/{key}", child)


def flatten_names(prefix: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested dicts and lists to `{'prefix/a/b': leaf}`."""
    flat: dict[str, Any] = {}
    for name, value in children_of(tree) or ():
        path = f"{prefix}/{name}" if prefix else str(name)
        if children_of(value) is None:
            flat[path] = value
        else:
            flat |= flatten_names(path, value)
    return flat


def children_of(value: object) -> list[tuple[Any, Any]] | None:
    """Returns the named children of a container; `None` for a leaf."""
    if isinstance(value, NUMBERS):  # nearly all are, and this is the quickest test
        return None
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return None
