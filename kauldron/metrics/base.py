"""`Metric`, and wrappers that map, reduce, or skip another metric."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Self

import flax.struct
import jax

from kauldron import kontext
from kauldron._base import frozen_dict
from kauldron.ktyping import PyTree
from kauldron.metrics import base_state
from kauldron.metrics._metric import Metric

# Registered before the first tree of states is traced.
frozen_dict.register_pytree()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoopMetric(Metric):
    """Measures nothing; takes the place of a metric that a sweep switches off."""

    State = base_state.EmptyState

    def get_state(self) -> base_state.EmptyState:
        return self.State()


@flax.struct.dataclass
class TreeState(base_state.State):
    """A tree of states; the value is the tree of their values.

    Attributes:
      tree: Tree (dicts, sequences) of states; `None` if there are none yet.
    """

    tree: PyTree[base_state.State] = None

    @classmethod
    def empty(cls) -> Self:
        return cls()

    def merge(self, other: Self) -> Self:
        if not self._has_states() or not other._has_states():
            return self if self._has_states() else other
        return dataclasses.replace(
            self, tree=_map_states(_merge, self.tree, other.tree)
        )

    def finalize(self) -> Self:
        return dataclasses.replace(
            self, tree=_map_states(lambda s: s.finalize(), self.tree)
        )

    def compute(self) -> Any:
        if not self._has_states():
            return {}
        return _map_states(lambda s: s.compute(), self.tree)

    def _has_states(self) -> bool:
        is_state = base_state.State.isinstance
        return bool(jax.tree.leaves(self.tree, is_leaf=is_state))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OverLeaves(Metric):
    """A metric whose keys name trees, and which another one measures leaf by leaf."""

    metric: Metric

    def __kontext_keys__(self) -> dict[str, Any]:
        return kontext.get_keypaths(self.metric)

    def context_keys(self) -> tuple[str, ...] | None:
        return self.metric.context_keys()

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        return kontext.check_keys(
            context, self.metric, prefix=f"{field}.metric", allow_globs=True
        )

    def __metric_names__(self) -> list[str] | None:
        return self.metric.__metric_names__()

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        return _resolve_trees(self, self.metric, context)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeMap(_OverLeaves):
    """The same metric for every leaf of a tree.

    Keys of the inner metric name trees, and may hold globs: `params.**.bias` is every
    bias below `params`. What is named by several keys must have one structure; a single
    array goes to every leaf. The value is a tree of values.

    Attributes:
      metric: The metric of a leaf.

    Raises:
      KeyPathError: A `KeyError`: nothing matches a key.
      ValueError: If the trees have different structures.

    Example:

    ```python
    kd.metrics.TreeMap(metric=kd.metrics.Norm(tensor="grads.**.kernel", axis=None))
    ```
    """

    metric: Metric

    State = TreeState

    def get_state(self, **trees: Any) -> base_state.State:
        return TreeState(tree=_get_leaf_states(self.metric, trees))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeReduce(_OverLeaves):
    """One metric over all leaves of a tree together.

    As `TreeMap`, with the states of the leaves merged: the state is one of the inner
    metric.

    Attributes:
      metric: The metric of a leaf.

    Example:

    ```python
    norm = kd.metrics.Norm(tensor="grads", axis=None, aggregation_type="concat")
    kd.metrics.TreeReduce(metric=norm)
    ```
    """

    metric: Metric

    def empty(self) -> base_state.State:
        return self.metric.empty()

    def get_state(self, **trees: Any) -> base_state.State:
        states = _get_leaf_states(self.metric, trees)
        is_state = base_state.State.isinstance
        leaves = jax.tree.leaves(states, is_leaf=is_state)
        return functools.reduce(_merge, leaves) if leaves else self.metric.empty()


@dataclasses.dataclass(frozen=True)
class SkipIfMissing(Metric):
    """Measures where the keys of a metric exist, and skips where they don't.

    For what exists only in some steps, such as `grads` (not in an evaluation) or a label
    that only one dataset has. Only absent keys are forgiven: an error inside the metric,
    a `KeyError` included, is raised.

    Attributes:
      metric: The metric; the only positional argument.
    """

    metric: Metric = dataclasses.field(kw_only=False)

    @flax.struct.dataclass
    class State(base_state.State["SkipIfMissing"]):
        """The state of the metric; `None` as long as nothing was measured."""

        state: base_state.State | None = None

        @classmethod
        def empty(cls) -> Self:
            return cls()

        def merge(self, other: Self) -> Self:
            if self.state is None or other.state is None:
                return self if other.state is None else other
            return dataclasses.replace(self, state=self.state.merge(other.state))

        def finalize(self) -> Self:
            if self.state is None:
                return self
            return dataclasses.replace(self, state=self.state.finalize())

        def compute(self) -> Any:
            return {} if self.state is None else self.state.compute()

    def __kontext_keys__(self) -> dict[str, Any]:
        return kontext.get_keypaths(self.metric)

    def context_keys(self) -> tuple[str, ...] | None:
        return self.metric.context_keys()

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        return []  # what is missing is forgiven

    def __metric_names__(self) -> list[str] | None:
        return self.metric.__metric_names__()

    def get_state(self, **kwargs: Any) -> base_state.State:
        return self.State(state=self.metric.get_state(**kwargs))

    def get_state_from_context(self, context: kontext.Context) -> base_state.State:
        try:
            # Apart from the measuring: a missing key in there is a bug to be seen.
            self._resolve_kwargs(context)
        except kontext.KeyPathError:
            return self.empty()
        state = self.metric.get_state_from_context(context)
        return self._attach(self.State(state=state))

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        return self.metric._resolve_kwargs(context)


def _merge(a: base_state.State, b: base_state.State) -> base_state.State:
    return a.merge(b)


def _map_states(func: Callable[..., Any], *trees: Any) -> Any:
    return jax.tree.map(func, *trees, is_leaf=base_state.State.isinstance)


def _resolve_trees(
    wrapper: Metric, metric: Metric, context: kontext.Context
) -> dict[str, Any]:
    """Returns the trees that the keys of `metric`, possibly with globs, name."""
    name = f"{type(wrapper).__name__}({type(metric).__name__})"
    problems = kontext.check_keys(context, metric, prefix=name, allow_globs=True)
    unset = [p for p in problems if p.kind == "required"]
    if unset:
        raise kontext.RequiredKeyError("; ".join(map(str, unset)))
    if problems:
        raise kontext.keys_error(problems, name=name)
    keys = kontext.get_keypaths(metric)
    return {
        field: jax.tree.map(lambda path: _filter(context, path), tree)
        for field, tree in keys.items()
        if tree is not None
    }


def _filter(context: kontext.Context, path: kontext.Path | str) -> Any:
    parts = path if isinstance(path, kontext.Path) else kontext.GlobPath.from_str(path)
    if isinstance(parts, kontext.Path):
        return parts.get_from(context)
    parent = parts.first_non_glob_parent
    tree = kontext.get_by_path(context, parent)
    rest = tuple(parts.parts[len(parent) :])
    return kontext.filter_by_path(tree, rest) if rest else tree


def _get_leaf_states(metric: Metric, trees: dict[str, Any]) -> Any:
    """Returns the tree of the states of all leaves."""
    structures = {name: jax.tree.structure(tree) for name, tree in trees.items()}
    single = jax.tree.structure(0)
    whole = {name: s for name, s in structures.items() if s != single}
    if len(set(whole.values())) > 1:
        listed = "\n".join(f"  {name}: {s}" for name, s in whole.items())
        raise ValueError(
            f"The trees for {type(metric).__name__} have different structures:\n{listed}"
        )
    names = list(trees)
    model = next((trees[name] for name in whole), trees[names[0]] if names else None)

    def get_state(leaf: object, *leaves: Any) -> base_state.State:
        del leaf
        return metric.get_state(**dict(zip(names, leaves, strict=True)))

    spread = [
        trees[n] if n in whole else jax.tree.map(lambda _, n=n: trees[n], model)
        for n in names
    ]
    return jax.tree.map(get_state, model, *spread)
