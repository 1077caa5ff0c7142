"""`Graph`: a model made of named modules, wired by keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import FrozenDict

from kauldron import kontext
from kauldron.ktyping import PyTree
from kauldron.modules import _train_property
from kauldron.modules.graph import _check, _node, _plan


class Graph(nn.Module):
    """Named modules whose inputs are keys: of the context, or of each other.

    Nodes may be written in any order: each runs behind those it reads. The parameters of
    a node are at `params.<node>`, its output at `interms.<node>.__call__[0]`, and what
    `outputs` names is returned: `preds`.

    Attributes:
      nodes: Name -> node.
      outputs: Keys of what is returned: a dict (of dicts, lists) of keys; one key returns
        the value itself. What a mode leaves out is left out of it.
      shared: Name -> module that several nodes use, with one set of parameters, which is
        at `params.<name>`. A node names it: `kd.nn.Node("critic", inputs="batch.image")`.

    Raises:
      GraphError: A `ValueError` that lists what is wrong: a key that nothing writes, a
        cycle, an output that nothing reads, a module in two places.

    Example:

    ```python
    import jax
    import jax.numpy as jnp
    from flax import linen as nn
    from kauldron import kd

    model = kd.nn.Graph(
        nodes={
            "encoder": kd.nn.Node(nn.Dense(16), inputs="batch.image"),
            "both": kd.nn.Node(jnp.add, inputs=["encoder", "embedding"]),
            "embedding": kd.nn.Node(nn.Embed(10, 16), inputs="batch.label"),
            "head": kd.nn.Node(nn.Dense(1), inputs="both"),
        },
        outputs={"score": "head"},
    )
    batch = {"image": jnp.zeros((2, 8)), "label": jnp.array([3, 4])}
    variables = model.init(jax.random.key(0), batch=batch)
    assert set(variables["params"]) == {"encoder", "embedding", "head"}
    assert model.apply(variables, batch=batch)["score"].shape == (2, 1)
    ```
    """

    nodes: Mapping[str, _node.Node]
    outputs: Any = kontext.REQUIRED
    shared: Mapping[str, nn.Module] = FrozenDict()

    is_training = _train_property.train_property()

    def __post_init__(self) -> None:
        outputs = _node.frozen_tree(self.outputs)
        shared, nodes = self.shared, self.nodes
        if not isinstance(shared, _ByName):
            shared = _ByName(shared)
        if not isinstance(nodes, _ByName) or nodes.checked_with != (shared, outputs):
            _check.check(nodes, shared, outputs, Graph)
            nodes = _ByName(nodes, checked_with=(shared, outputs))
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "shared", shared)
        object.__setattr__(self, "outputs", outputs)
        super().__post_init__()

    def __kontext_keys__(self) -> dict[str, str]:
        return dict(self.plan.context)

    @property
    def plan(self) -> _plan.Plan:
        """The nodes in the order in which they run, and what each reads."""
        wiring = tuple((name, n.inputs, n.when) for name, n in self.nodes.items())
        return _plan.make(_plan.Wiring(wiring, self.outputs))

    @property
    def frozen_modules(self) -> tuple[str, ...]:
        """Names in `params` of modules all of whose uses are frozen."""
        is_frozen: dict[str, bool] = {}
        for name, node in self.nodes.items():
            owner = node.shared or name
            is_frozen[owner] = is_frozen.get(owner, True) and node.frozen
        return tuple(name for name, yes in is_frozen.items() if yes)

    @nn.nowrap
    def trainable(self, params: PyTree) -> PyTree[bool]:
        """Returns for each parameter whether it learns: a mask for an optimizer.

        The gradient of a frozen parameter is zero, but weight decay changes it all the
        same: `kd.optim.partial_updates(optax.adamw(1e-3), mask=graph.trainable)`.
        """
        frozen = self.frozen_modules
        return {
            name: jax.tree.map(lambda _, learns=name not in frozen: learns, part)
            for name, part in params.items()
        }

    @nn.compact
    def __call__(self, **inputs: PyTree) -> Any:
        """Runs the nodes.

        Args:
          **inputs: The context, by its parts: `batch=...`. (A training gives each value
            by the field that its key is written in, as `__kontext_keys__` has it.)
        """
        plan = self.plan
        context = _context_values(plan.context, inputs)
        everything = self.is_initializing() or not plan.has_modes
        is_training = everything or self.is_training
        results: dict[str, Any] = {}
        shared: dict[str, nn.Module] = {}

        def read(source: _plan.Source) -> Any:
            return source.read(results, context)

        for step in plan.steps:
            if everything or step.runs(is_training):
                args = [_plan.map_tree(read, tree) for tree in step.args]
                kwargs = {k: _plan.map_tree(read, t) for k, t in step.kwargs.items()}
                results[step.name] = self._call(step.name, shared, args, kwargs)
        return _collect(plan.outputs, results, context)

    @nn.nowrap
    def _call(
        self,
        name: str,
        shared: dict[str, nn.Module],
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        node = self.nodes[name]
        module: Any = node.module
        if isinstance(module, str):
            if module not in shared:
                shared[module] = self.shared[module].clone(parent=self, name=module)
            module = SharedNode(shared[module], node.frozen, name=name)
        elif not isinstance(module, nn.Module):
            module = FunctionNode(module, name=name)
        else:
            module = module.clone(parent=self, name=name)
        is_frozen = node.frozen and node.shared is None
        try:
            return _run(module, is_frozen, self.is_initializing(), args, kwargs)
        except TypeError as e:
            _check.check_arguments(name, node, self.shared, args, kwargs, e)
            raise


class _ByName(Mapping[str, Any]):
    """What a graph holds: no container in which Flax looks for submodules.

    It would name them `shared_<name>`.

    Attributes:
      checked_with: What was found to fit, so that copies need no check.
    """

    def __init__(self, values: Mapping[str, Any], checked_with: Any = None) -> None:
        self._values = dict(values)
        self.checked_with = checked_with

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


class SharedNode(nn.Module):
    """One use of a module whose parameters are elsewhere, under a name of its own."""

    module: nn.Module
    frozen: bool

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _run(self.module, self.frozen, self.is_initializing(), args, kwargs)


class FunctionNode(nn.Module):
    """A function as a module: it has a name, and its output is captured."""

    function: Callable[..., Any]

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _run(
    module: nn.Module, frozen: bool, is_initializing: bool, args: Any, kwargs: Any
) -> Any:
    if not frozen:
        return module(*args, **kwargs)
    run = nn.map_variables(
        lambda m: m(*args, **kwargs),
        "params",
        trans_in_fn=lambda params: jax.tree.map(jax.lax.stop_gradient, params),
        init=is_initializing,
    )
    return run(module)


def _context_values(
    keys: Mapping[str, str], inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns key -> value, of the keys into the context."""
    if inputs.keys() == keys.keys():
        return {key: inputs[field] for field, key in keys.items()}
    found = kontext.resolve_from_keypaths(inputs, keys)
    return {key: found[field] for field, key in keys.items()}


def _collect(tree: Any, results: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """Returns the values of a tree of sources, without those of nodes that did not run."""

    def is_there(tree: Any) -> bool:
        is_source = isinstance(tree, _plan.Source)
        return not is_source or tree.node is None or tree.node in results

    if isinstance(tree, Mapping):
        kept = {k: child for k, child in tree.items() if is_there(child)}
        return {k: _collect(child, results, context) for k, child in kept.items()}
    if isinstance(tree, tuple):
        return [_collect(c, results, context) for c in tree if is_there(c)]
    return tree.read(results, context)
