"""The order in which the nodes of a graph run, and what each reads."""

from __future__ import annotations

import dataclasses
import functools
import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kauldron import kontext
from kauldron.modules.graph import _node

# What exists in the context before a model is called.
CONTEXT = ("batch", "step", "params", "collections", "opt_state")


@dataclasses.dataclass(frozen=True)
class Wiring:
    """What the plan of a graph depends on: no modules.

    Attributes:
      nodes: Name, inputs and `when` of each node, as written.
      outputs: Tree of keys.
    """

    nodes: tuple[tuple[str, _node.Inputs, str], ...]
    outputs: Any


@dataclasses.dataclass(frozen=True)
class Source:
    """A key: where a value comes from.

    Attributes:
      key: As written.
      field: Where it is written, such as `nodes.head.inputs[0]`.
      node: The node that makes it; `None` if the context has it.
      is_whole: Whether it is the output of the node, and no part of it.
    """

    key: str
    field: str
    node: str | None
    is_whole: bool

    def read(self, outputs: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        """Returns the value."""
        if self.node is None:
            return context[self.key]
        if self.is_whole:
            return outputs[self.node]
        found = kontext.resolve_from_keypaths(outputs, {self.field: self.key})
        return found[self.field]


@dataclasses.dataclass(frozen=True)
class Step:
    """A node that runs.

    Attributes:
      name: Of the node.
      when: `'always'`, `'train'` or `'eval'`.
      args: Trees of sources, of the positional arguments.
      kwargs: Likewise, of the named ones.
    """

    name: str
    when: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def sources(self) -> Iterator[Source]:
        """What it reads."""
        yield from leaves(self.args)
        yield from leaves(self.kwargs)

    def runs(self, is_training: bool) -> bool:
        """Whether it has a part in this kind of pass."""
        return self.when == "always" or (self.when == "train") == is_training


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a graph runs.

    Attributes:
      steps: The nodes, each behind those it reads; else as written.
      outputs: Tree of sources.
      context: Where a key of the context is written first -> the key.
    """

    steps: tuple[Step, ...]
    outputs: Any
    context: Mapping[str, str]

    @functools.cached_property
    def has_modes(self) -> bool:
        """Whether something is left out of training or of predictions."""
        return any(step.when != "always" for step in self.steps)


def leaves(tree: Any) -> Iterator[Any]:
    """Yields the leaves of dicts and tuples."""
    if isinstance(tree, Mapping):
        for child in tree.values():
            yield from leaves(child)
    elif isinstance(tree, tuple):
        for child in tree:
            yield from leaves(child)
    else:
        yield tree


def map_tree(func: Callable[[Any], Any], tree: Any) -> Any:
    """Applies `func` to the leaves; gives plain dicts and lists."""
    if isinstance(tree, Mapping):
        return {k: map_tree(func, child) for k, child in tree.items()}
    if isinstance(tree, tuple):
        return [map_tree(func, child) for child in tree]
    return func(tree)


def map_keys(func: Callable[[str, Any], Any], field: tuple[Any, ...], tree: Any) -> Any:
    """Applies `func(field, key)` to the leaves; keeps dicts and tuples."""
    if isinstance(tree, Mapping):
        return {k: map_keys(func, (*field, k), child) for k, child in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(map_keys(func, (*field, i), c) for i, c in enumerate(tree))
    return func(str(kontext.Path(*field)), tree)


@functools.lru_cache(maxsize=256)
def make(wiring: Wiring) -> Plan:
    """Returns the plan of a graph that was checked."""
    names = [name for name, _, _ in wiring.nodes]

    def to_source(field: str, key: str) -> Source:
        parts = kontext.Path.from_str(key).parts
        node = parts[0] if parts[0] in names else None
        return Source(key=key, field=field, node=node, is_whole=len(parts) == 1)

    steps = {}
    for name, inputs, when in wiring.nodes:
        read = map_keys(to_source, ("nodes", name, "inputs"), inputs)
        is_named = isinstance(read, Mapping)
        args = () if is_named else read if isinstance(read, tuple) else (read,)
        steps[name] = Step(name, when, args, read if is_named else {})
    outputs = map_keys(to_source, ("outputs",), wiring.outputs)
    read_by = {n: {s.node for s in steps[n].sources if s.node} for n in names}
    context: dict[str, str] = {}  # key -> field
    for source in [*(s for n in names for s in steps[n].sources), *leaves(outputs)]:
        if source.node is None:
            context.setdefault(source.key, source.field)
    return Plan(
        steps=tuple(steps[name] for name in in_order(read_by)),
        outputs=outputs,
        context={field: key for key, field in context.items()},
    )


def in_order(reads: Mapping[str, set[str]]) -> list[str]:
    """Returns names behind what they read; else, in their order. Leaves cycles out."""
    names = list(reads)
    position = {name: i for i, name in enumerate(names)}
    readers: dict[str, list[str]] = {name: [] for name in names}
    missing = {name: len(reads[name]) for name in names}
    for name in names:
        for read in reads[name]:
            readers[read].append(name)
    ready = [position[name] for name in names if not missing[name]]
    ordered = []
    while ready:
        name = names[heapq.heappop(ready)]
        ordered.append(name)
        for reader in readers[name]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, position[reader])
    return ordered
