"""The modules of a model as they are called, with the shapes that flow: nothing runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kauldron import kontext, modules
from kauldron.ktyping import PyTree

_STREAMS = ("params", "dropout", "default")


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a module.

    Attributes:
      path: Names from the model to the module; none for the model itself.
      kind: Name of its class.
      depth: How many calls this one is inside of.
      inputs: Arrays that it was given, as shapes and dtypes.
      outputs: What it returned, likewise.
    """

    path: tuple[str, ...]
    kind: str
    depth: int
    inputs: Any
    outputs: Any


@dataclasses.dataclass(frozen=True)
class Trace:
    """The calls of a model.

    Attributes:
      calls: In the order in which they begin.
      inputs: Key, or name of the argument -> shapes and dtypes of the inputs.
      params: Shapes of the parameters.
    """

    calls: tuple[Call, ...]
    inputs: Mapping[str, Any]
    params: Any

    def num_params(self, path: tuple[str, ...] = ()) -> int:
        """Returns how many numbers the parameters at a path are."""
        tree = self.params
        for name in path:
            tree = tree.get(name, {}) if isinstance(tree, Mapping) else {}
        return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def trace(model: nn.Module, *args: PyTree, **kwargs: PyTree) -> Trace:
    """Follows a model in training; a graph, when it is initialized: all nodes have a turn.

    Args:
      model: Any Flax module.
      *args: What it is called with: arrays, or anything with `shape` and `dtype`.
      **kwargs: Likewise.
    """
    calls: list[Call | None] = []
    open_paths: list[tuple[str, ...]] = []

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        path = tuple(context.module.path)
        # A method of a base class is the same call.
        if context.method_name != "__call__" or path in open_paths:
            return next_fun(*args, **kwargs)
        place = len(calls)
        calls.append(None)
        open_paths.append(path)
        try:
            outputs = next_fun(*args, **kwargs)
        finally:
            open_paths.remove(path)
        calls[place] = Call(
            path=path,
            kind=type(context.module).__name__,
            depth=len(open_paths),
            inputs=_specs_of([*args, *kwargs.values()]),
            outputs=jax.tree.map(_to_spec, outputs),
        )
        return outputs

    rngs = {name: jax.random.key(0) for name in _STREAMS}

    def init(args: Any, kwargs: Any) -> Any:
        return model.init(rngs, *args, **kwargs)

    def apply(variables: Any, args: Any, kwargs: Any) -> Any:
        return model.apply(variables, *args, rngs=rngs, mutable=True, **kwargs)

    with modules.set_train_property(True):
        if isinstance(model, modules.Graph):
            with nn.intercept_methods(intercept):
                variables = modules.eval_shape(init, args, kwargs)
        else:
            variables = modules.eval_shape(init, args, kwargs)
            with nn.intercept_methods(intercept):
                modules.eval_shape(apply, variables, args, kwargs)
    return Trace(
        calls=tuple(call for call in calls if call is not None),
        inputs=_named_inputs(model, args, kwargs),
        params=variables.get("params", {}),
    )


def _named_inputs(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    keys = kontext.get_keypaths(model)
    positional = (
        ["input"] if len(args) == 1 else [f"input {i}" for i in range(len(args))]
    )
    named = {str(keys.get(name) or name): value for name, value in kwargs.items()}
    inputs = {**dict(zip(positional, args, strict=True)), **named}
    return {
        name: jax.tree.map(_to_spec, value)
        for name, value in inputs.items()
        if any(hasattr(x, "dtype") for x in jax.tree.leaves(value))
    }


def _specs_of(values: list[Any]) -> list[Any]:
    """Returns the specs of what holds arrays; flags and functions are left out."""
    arrays = [
        v
        for v in values
        if (leaves := jax.tree.leaves(v)) and all(hasattr(x, "dtype") for x in leaves)
    ]
    return jax.tree.map(_to_spec, arrays)


def _to_spec(x: Any) -> Any:
    if not hasattr(x, "shape"):
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
