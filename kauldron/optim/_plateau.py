"""A factor of updates that follows what is measured, see `kd.train.ReduceOnPlateau`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kauldron import sharding
from kauldron.ktyping import Float, PyTree


class PlateauScaleState(NamedTuple):
    """State of `plateau_scale`.

    Attributes:
      scale: What updates are multiplied by, `f32[]`.
    """

    scale: Float[""]


def plateau_scale() -> optax.GradientTransformation:
    """Multiplies updates by a number that `kd.train.ReduceOnPlateau` makes smaller.

    It is 1 at first, and part of the state: a run that continues has the same. Use it as
    the last part of a chain; it does not change moments.

    Example:

    ```python
    import optax
    from kauldron import kd

    optimizer = optax.chain(optax.adam(1e-3), kd.optim.plateau_scale())
    ```
    """

    def init(params: Any) -> Any:
        del params
        return PlateauScaleState(scale=jnp.ones((), jnp.float32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        scaled = jax.tree.map(lambda u: (u * state.scale).astype(u.dtype), updates)
        return scaled, state

    return optax.GradientTransformation(init, update)


def has_plateau_scale(opt_state: PyTree[Any]) -> bool:
    """Whether an optimizer state has a `plateau_scale` in it."""
    leaves = jax.tree.leaves(opt_state, is_leaf=_is_scale)
    return any(map(_is_scale, leaves))


def set_plateau_scale(opt_state: PyTree[Any], scale: float) -> PyTree[Any]:
    """Returns an optimizer state in which updates are multiplied by a number.

    Arrays stay where they are.

    Args:
      opt_state: Of an optimizer with `plateau_scale`.
      scale: The number.
    """

    def changed(node: Any) -> Any:
        if not _is_scale(node):
            return node
        placed = sharding.device_put(np.float32(scale), node.scale.sharding)
        return PlateauScaleState(scale=placed)

    return jax.tree.map(changed, opt_state, is_leaf=_is_scale)


def _is_scale(node: Any) -> bool:
    return isinstance(node, PlateauScaleState)
