"""Logical axis names: what each axis of a parameter is, for rules of sharding.

An initializer carries the names; the parameters themselves stay plain arrays. Only
`logical_axes` asks for the names, and computes nothing.
"""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

from kauldron.ktyping import Array, PRNGKey, PyTree
from kauldron.modules import _train_property

AXIS_NAMES = (
    "embed",
    "mlp",
    "heads",
    "kv",
    "head_dim",
    "vocab",
    "expert",
    "layers",
    "conv_in",
    "conv_out",
)

_is_asked: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "kauldron_logical_axes", default=False
)


@dataclasses.dataclass(frozen=True)
class _NamedInit:
    """An initializer that knows the names of the axes."""

    init: Callable[..., Any]
    names: tuple[str | None, ...]

    def __call__(
        self, rng: PRNGKey, shape: tuple[int, ...], *args: Any, **kwargs: Any
    ) -> Any:
        value = self.init(rng, shape, *args, **kwargs)
        if len(shape) != len(self.names):
            raise ValueError(
                f"A parameter of shape {tuple(shape)} was given {len(self.names)} "
                f"logical axis names, {self.names}: one for each axis is needed, None "
                "for an axis that is never split."
            )
        return nn.LogicallyPartitioned(value, self.names) if _is_asked.get() else value


def with_logical_axes(
    init: Callable[..., Array], names: tuple[str | None, ...]
) -> Callable[..., Array]:
    """Returns the initializer, with the name of each axis of what it initializes.

    Args:
      init: Initializer of Flax: `(rng, shape, dtype) -> array`.
      names: Name of each axis, of `kd.nn.AXIS_NAMES` or your own; `None` for an axis
        that is never split. Axes that `nn.scan` and `nn.vmap` add are named by their
        `metadata_params={nn.PARTITION_NAME: "layers"}`.

    Example:

    ```python
    init = nn.initializers.lecun_normal()
    nn.Dense(64, kernel_init=kd.nn.with_logical_axes(init, ("embed", "mlp")))
    ```
    """
    return _NamedInit(init, tuple(names))


def logical_axes(model: nn.Module, *args: Any, **kwargs: Any) -> PyTree:
    """Returns the names of the axes of each variable, without computing anything.

    Args:
      model: Any Flax module.
      *args: What its `__call__` takes: arrays or `jax.ShapeDtypeStruct`s.
      **kwargs: Likewise.

    Returns:
      The tree of variables (`params` and other collections), a `PartitionSpec` of
      logical names for each leaf; `PartitionSpec()` where nothing is said.

    Example:

    ```python
    axes = kd.nn.logical_axes(model, jax.ShapeDtypeStruct((1, 8, 64), jnp.float32))
    assert axes["params"]["dense_in"]["kernel"] == PartitionSpec("embed", "mlp")
    ```
    """
    token = _is_asked.set(True)
    try:
        with _train_property.set_train_property(True):
            boxed = jax.eval_shape(
                lambda rng, *args, **kwargs: model.init(rng, *args, **kwargs),
                jax.random.key(0),
                *args,
                **kwargs,
            )
    finally:
        _is_asked.reset(token)
    return jax.tree.map(_names, boxed, is_leaf=_is_box)


def _is_box(x: object) -> bool:
    return isinstance(x, nn.meta.AxisMetadata)


def _names(leaf: object) -> PartitionSpec:
    if isinstance(leaf, nn.LogicallyPartitioned | nn.Partitioned):
        return PartitionSpec(*leaf.names)
    return PartitionSpec()
