"""Equinox modules as models."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext, modules
from kauldron.ktyping import PRNGKey, PyTree


def linen_from_equinox(
    make: Callable[..., Any],
    *args: Any,
    keys: str | Mapping[str, str] = kontext.REQUIRED,
    **kwargs: Any,
) -> nn.Module:
    """Returns a Linen module that makes an Equinox module and calls it.

    Equinox modules see one example: it is mapped over the batch, whose axis is named
    `batch` (for `eqx.nn.BatchNorm`). Floating-point arrays are parameters, by their path;
    other arrays, and the `eqx.nn.State` of a module that has one, are the collection
    `state`. A module whose `__call__` takes `key` gets one for each example in training
    passes; in others, layers are in inference mode.

    Args:
      make: Class of the module, or a function; it takes `key` by name.
      *args: Given to it.
      keys: Key to the only argument, or name of an argument -> key.
      **kwargs: Given to it.

    Raises:
      ImportError: Without equinox.

    Example:

    ```python
    cfg.model = kd.contrib.nn.linen_from_equinox(
        eqx.nn.MLP, 64, 10, width_size=32, depth=1, keys="batch.x"
    )
    ```
    """
    _import_equinox()
    module = _Equinox(make=make, args=args, kwargs=nn.FrozenDict(kwargs))
    functions = modules.FunctionModule(
        module.init, module.apply, has_state=True, rng_kwarg_name="rng"
    )
    return modules.ExternalModule(
        model=functions, keys=keys, train_kwarg_name="is_training"
    )


# Where the module is in the pair of module and state.
_MODULE = "0."


@dataclasses.dataclass(frozen=True)
class _Equinox:
    """Pure functions of an Equinox module."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def init(self, rng: PRNGKey, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs  # an Equinox module is made without seeing its input
        leaves = jax.tree.leaves_with_path(self._make(rng))
        arrays = {_name(path): x for path, x in leaves if isinstance(x, jax.Array)}
        params = {name: x for name, x in arrays.items() if _is_param(name, x)}
        return _nest(params), _nest(_others(arrays))

    def apply(
        self,
        params: Mapping[str, Any],
        state: Mapping[str, Any],
        *args: Any,
        rng: PRNGKey | None,
        is_training: bool,
        **kwargs: Any,
    ) -> Any:
        eqx = _import_equinox()
        specs = eqx.filter_eval_shape(self._make, jax.random.key(0))

        def fill(path: Any, spec: PyTree) -> Any:
            if not isinstance(spec, jax.ShapeDtypeStruct):
                return spec
            name = _name(path)
            return _get(params if _is_param(name, spec) else state, name)

        module, own = jax.tree_util.tree_map_with_path(fill, specs)
        module = eqx.nn.inference_mode(module, value=not is_training)
        batch_size = jax.tree.leaves((args, kwargs))[0].shape[0]
        is_random = is_training and rng is not None and _takes_key(module)
        rngs = jax.random.split(rng, batch_size) if is_random else None
        is_stateful = bool(jax.tree.leaves(own))

        def call(args: Any, kwargs: Any, rng: Any, own: Any) -> Any:
            args = (*args, own) if is_stateful else args
            kwargs = kwargs if rng is None else {**kwargs, "key": rng}
            output = module(*args, **kwargs)
            return output if is_stateful else (output, own)

        output, own = jax.vmap(
            call, in_axes=(0, 0, 0, None), out_axes=(0, None), axis_name="batch"
        )(args, kwargs, rngs, own)
        after = {_name(p): x for p, x in jax.tree.leaves_with_path((module, own))}
        return output, _nest(_others(after))

    def _make(self, rng: PRNGKey) -> Any:
        """Returns the module and its state."""
        eqx = _import_equinox()
        make = eqx.nn.make_with_state(self.make)
        return make(*self.args, key=rng, **self.kwargs)


def _is_param(name: str, x: PyTree) -> bool:
    return name.startswith(_MODULE) and jnp.issubdtype(x.dtype, jnp.inexact)


def _others(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is no parameter, in dtypes that stay as they are from step to step."""
    return {
        name: jnp.asarray(x, x.dtype)
        for name, x in arrays.items()
        if isinstance(x, jax.Array) and not _is_param(name, x)
    }


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts by path inside of the module; `state` for its state."""
    nested: dict[str, Any] = {}
    for name, x in flat.items():
        *parents, last = _parts(name)
        inner = nested
        for part in parents:
            inner = inner.setdefault(part, {})
        inner[last] = x
    return nested


def _get(nested: Mapping[str, Any], name: str) -> Any:
    value: Any = nested
    for part in _parts(name):
        value = value[part]
    return value


def _parts(name: str) -> list[str]:
    first, *rest = name.split(".")
    return rest if f"{first}." == _MODULE else ["state", *rest]


def _takes_key(module: Any) -> bool:
    parameters = inspect.signature(module.__call__).parameters
    return "key" in parameters


def _import_equinox() -> Any:
    try:
        import equinox
    except ImportError:
        raise ImportError(
            "Equinox modules need equinox, which is not installed: `pip install equinox`."
        ) from None
    return equinox
