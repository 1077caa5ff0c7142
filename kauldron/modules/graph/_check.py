"""What is wrong with a graph as it is written: found before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn

from kauldron import kontext
from kauldron._base import errors
from kauldron.modules.graph import _node, _plan

_WHEN = ("always", "train", "eval")


def check(
    nodes: Mapping[str, _node.Node],
    shared: Mapping[str, Any],
    outputs: Any,
    reserved: type,
) -> None:
    """Raises an error that lists everything that is wrong.

    Args:
      nodes: Name -> node.
      shared: Name -> module.
      outputs: Tree of keys.
      reserved: Class whose attributes cannot be names.

    Raises:
      GraphError: With the field of each problem, as the user wrote it.
    """
    problems = list(_wrong_names(nodes, shared, reserved))
    problems += _wrong_nodes(nodes, shared)
    nodes = {k: node for k, node in nodes.items() if isinstance(node, _node.Node)}
    problems += _repeated_modules(nodes, shared)
    problems += _wrong_keys(nodes, outputs)
    if not problems:
        problems += _wrong_wiring(nodes, shared, outputs)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise _node.GraphError(f"The graph cannot be run:\n{listed}")


def check_arguments(
    name: str,
    node: _node.Node,
    shared: Mapping[str, Any],
    args: list[Any],
    kwargs: dict[str, Any],
    error: TypeError,
) -> None:
    """Raises an error that says so if the inputs of a node are not what it takes."""
    module: Any = node.module if node.shared is None else shared[node.shared]
    function = module.__call__ if isinstance(module, nn.Module) else module
    try:
        signature = inspect.signature(function)
    except ValueError:  # it has none: a built-in
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as e:
        raise _node.GraphError(
            f"nodes.{name}.inputs: {_node.name_of(module)}{signature} does not take "
            f"these: {e}. A list gives the positional arguments, a dict the named ones; "
            "one argument that is a list is a list in a list."
        ) from error


def _wrong_names(
    nodes: Mapping[str, Any], shared: Mapping[str, Any], reserved: type
) -> Iterator[str]:
    if not nodes:
        yield "nodes: it has none. Give at least one `name: kd.nn.Node(...)`."
    for field, names in (("nodes", nodes), ("shared", shared)):
        for name in names:
            where = f"{field}[{name!r}]"
            if not (isinstance(name, str) and name.isidentifier()):
                yield f"{where}: a name is one word, as in Python, to be part of keys."
            elif name in _plan.CONTEXT:
                yield f"{where}: `{name}` is a part of the context. Take another name."
            elif hasattr(reserved, name) or name in reserved.__dataclass_fields__:
                yield (
                    f"{where}: Flax modules have an attribute {name!r}. Take another "
                    "name."
                )
    for name in shared:
        if name in nodes:
            yield (
                f"shared.{name}: a node has this name, too. Name the module for what it "
                "is ('critic'), the nodes for what they are used for ('real', 'fake')."
            )


def _wrong_nodes(nodes: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    for name, module in shared.items():
        if not isinstance(module, nn.Module):
            yield f"shared.{name}: it must be a Flax module, got {module!r}."
    for name, node in nodes.items():
        where = f"nodes.{name}"
        if not isinstance(node, _node.Node):
            yield f"{where}: it must be a `kd.nn.Node(module, inputs=...)`, got {node!r}."
            continue
        module = node.module
        if isinstance(module, str):
            if module not in shared:
                near = errors.did_you_mean(module, shared)
                has = ", ".join(shared) or "nothing"
                yield (
                    f"{where}.module = {module!r}: `shared` has no such module.{near} "
                    f"It has {has}."
                )
        elif isinstance(module, type) or not callable(module):
            hint = " Call it, with its arguments." if isinstance(module, type) else ""
            yield (
                f"{where}.module: it must be a Flax module, a function or a name in "
                f"`shared`, got {module!r}.{hint}"
            )
        elif node.frozen and not isinstance(module, nn.Module):
            yield f"{where}.frozen: a function has no parameters."
        if node.when not in _WHEN:
            near = errors.did_you_mean(str(node.when), _WHEN)
            yield f"{where}.when = {node.when!r}: it is one of {list(_WHEN)}.{near}"


def _repeated_modules(
    nodes: Mapping[str, _node.Node], shared: Mapping[str, Any]
) -> Iterator[str]:
    first: dict[int, str] = {}
    modules = [(f"shared.{name}", module) for name, module in shared.items()]
    modules += [(f"nodes.{name}.module", node.module) for name, node in nodes.items()]
    for where, module in modules:
        if not isinstance(module, nn.Module):
            continue
        if (before := first.setdefault(id(module), where)) != where:
            yield (
                f"{where}: it is the very object that is `{before}`. To share its "
                "weights, give it a name in `shared`, and the nodes that name; for "
                "weights of its own, make another module."
            )


def _wrong_keys(nodes: Mapping[str, _node.Node], outputs: Any) -> Iterator[str]:
    for field, key in _keys(nodes, outputs):
        if key == kontext.REQUIRED:
            yield f"{field}: it must be set, to keys such as 'batch.image' or a node."
            continue
        if not isinstance(key, str):
            yield (
                f"{field} = {key!r}: a key is a text. Other arguments are given to the "
                "module, or with `functools.partial`."
            )
            continue
        try:
            parts = kontext.GlobPath.from_str(key).parts
        except kontext.PathSyntaxError as error:
            yield f"{field} = {key!r}: {error}"
            continue
        root = parts[0] if parts else ""
        if any(isinstance(part, kontext.Wildcard) for part in parts):
            yield f"{field} = {key!r}: wildcards name many values; one is needed."
        elif root not in nodes and root not in _plan.CONTEXT:
            near = errors.did_you_mean(str(root), [*nodes, *_plan.CONTEXT])
            yield (
                f"{field} = {key!r}: no node writes {str(root)!r}, and the context has "
                f"no such part.{near} Nodes: {', '.join(nodes)}. Context: "
                f"{', '.join(_plan.CONTEXT)}."
            )


def _keys(nodes: Mapping[str, _node.Node], outputs: Any) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def visit(field: str, key: Any) -> None:
        found.append((field, key))

    for name, node in nodes.items():
        _plan.map_keys(visit, ("nodes", name, "inputs"), node.inputs)
    _plan.map_keys(visit, ("outputs",), outputs)
    return iter(found)


def _wrong_wiring(
    nodes: Mapping[str, _node.Node], shared: Mapping[str, Any], outputs: Any
) -> Iterator[str]:
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    reads: dict[str, set[str]] = {name: set() for name in nodes}
    for field, key in _keys(nodes, outputs):
        root = kontext.Path.from_str(key).parts[0]
        path = kontext.Path.from_str(field).parts
        if root not in nodes:
            continue
        readers[root].append(field)
        if path[0] == "nodes":
            reads[path[1]].add(root)
            yield from _wrong_modes(field, nodes[path[1]], root, nodes[root])
        elif len(path) == 1 and nodes[root].when != "always":
            yield (
                f"{field} = {key!r}: it exists only in {nodes[root].when} passes; the "
                f"only output must exist always. Use a dict: {{{root!r}: {key!r}}}."
            )
    if cycle := _cycle(reads):
        yield (
            f"nodes.{cycle[0]}.inputs: a cycle, each needs the next to be called first: "
            f"{' → '.join([*cycle, cycle[0]])}."
        )
        return
    for name, fields in readers.items():
        if not fields:
            yield (
                f"nodes.{name}: nothing reads its output. Add it to `outputs`, for "
                f"instance as {{{name!r}: {name!r}}}, or remove it."
            )
    used = {node.shared for node in nodes.values()}
    for name in shared:
        if name not in used:
            yield f"shared.{name}: no node uses it: `kd.nn.Node({name!r}, inputs=...)`."


def _wrong_modes(
    field: str, reader: _node.Node, root: str, read: _node.Node
) -> Iterator[str]:
    if read.when not in ("always", reader.when):
        yield (
            f"{field}: it reads {root!r}, which exists only in {read.when} passes. Set "
            f"`when={read.when!r}` here as well, or read another node."
        )


def _cycle(reads: Mapping[str, set[str]]) -> list[str]:
    """Returns names that read each other in a circle, if any do."""
    done = set(_plan.in_order(reads))
    left = [name for name in reads if name not in done]
    if not left:
        return []
    way = [left[0]]
    while True:
        # One is left there: else the last would have had its turn.
        following = min(reads[way[-1]] - done, key=left.index)
        if following in way:
            return way[way.index(following) :]
        way.append(following)
