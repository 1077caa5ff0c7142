"""The modules of a model as they are called, with the shapes that flow: nothing runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import linen as nn

from kauldron import kontext, modules
from kauldron.inspect import _trainer_inputs
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import train

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
    with modules.set_train_property(True), _recorded() as calls:
        init = functools.partial(_init, model)
        if isinstance(model, modules.Graph):
            variables = modules.eval_shape(init, args, kwargs)
        else:
            with _unrecorded(calls):
                variables = modules.eval_shape(init, args, kwargs)
            apply = functools.partial(_apply, model)
            modules.eval_shape(apply, variables, args, kwargs)
    return _to_trace(model, calls, args, kwargs, variables)


def trace_of(trainer: train.Trainer) -> Trace:
    """Follows the model of a run as `trace` does, with the state that is known of it.

    Raises:
      KeyPathError: A `KeyError`: the model reads a key that does not exist.
      ModelTraceError: A `ValueError`: it cannot be called with what its keys name.
    """
    model = trainer.model
    args, kwargs = _trainer_inputs.model_inputs(trainer)
    with _trainer_inputs.telling_model_errors():
        if isinstance(model, modules.Graph):
            return trace(model, *args, **kwargs)
        variables = _variables_of(trainer)
        with modules.set_train_property(True), _recorded() as calls:
            apply = functools.partial(_apply, model)
            modules.eval_shape(apply, variables, args, kwargs)
    return _to_trace(model, calls, args, kwargs, variables)


def program_of(trainer: train.Trainer, *, is_training: bool) -> tuple[Trace, Any]:
    """Returns what `trace_of` does, and the program of the model, a closed jaxpr."""
    model = trainer.model
    args, kwargs = _trainer_inputs.model_inputs(trainer)
    arrays, rest = _split_arrays((args, kwargs))

    def call(variables: Any, arrays: Any) -> Any:
        given, named = _join_arrays(arrays, rest)
        return _apply(model, variables, given, named)

    with _trainer_inputs.telling_model_errors():
        variables = _variables_of(trainer)
        with modules.set_train_property(is_training), _recorded() as calls:
            program = jax.make_jaxpr(call)(variables, arrays)
        if isinstance(model, modules.Graph):
            return trace(model, *args, **kwargs), program
    return _to_trace(model, calls, args, kwargs, variables), program


@contextlib.contextmanager
def _recorded() -> Iterator[list[Call | None]]:
    """Yields the calls of modules in the block, in the order in which they begin."""
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

    with nn.intercept_methods(intercept):
        yield calls


@contextlib.contextmanager
def _unrecorded(calls: list[Call | None]) -> Iterator[None]:
    """Forgets the calls in the block."""
    yield
    calls.clear()


def _init(model: nn.Module, args: Any, kwargs: Any) -> Any:
    return model.init(_rngs(), *args, **kwargs)


def _apply(model: nn.Module, variables: Any, args: Any, kwargs: Any) -> Any:
    return model.apply(variables, *args, rngs=_rngs(), mutable=True, **kwargs)


def _rngs() -> dict[str, jax.Array]:
    return {name: jax.random.key(0) for name in _STREAMS}


def _variables_of(trainer: train.Trainer) -> dict[str, Any]:
    specs = trainer.state_specs
    found = {"params": specs.params, **(specs.collections or {})}
    # Without their shardings: the batch has none here.
    return jax.tree.map(_to_spec, found)


def _to_trace(
    model: nn.Module,
    calls: list[Call | None],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    variables: Mapping[str, Any],
) -> Trace:
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


def _split_arrays(tree: Any) -> tuple[list[Any], Any]:
    """Returns the arrays of a tree, and how to put them back beside what is none."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [x for x in leaves if hasattr(x, "dtype")]
    return arrays, (leaves, structure)


def _join_arrays(arrays: list[Any], rest: Any) -> Any:
    leaves, structure = rest
    given = iter(arrays)
    return jax.tree.unflatten(
        structure, [next(given) if hasattr(x, "dtype") else x for x in leaves]
    )
