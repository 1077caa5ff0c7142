"""Reductions across processes: values that all of them must agree on."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, typechecked
from kauldron.sharding import _mesh


@typechecked
def max_over_processes(values: Float["n"]) -> Float["n"]:
    """Starts an element-wise maximum over all processes.

    Every process must call it at the same point. It returns before the result is ready.

    Args:
      values: This process's values, `Float32["n"]`.

    Returns:
      `Float32["n"]`, replicated.
    """
    copies = np.broadcast_to(values, (jax.local_device_count(), *values.shape))
    # JAX mistakes this transfer to the devices for an implicit one.
    with jax.transfer_guard("allow"):
        everywhere = jax.make_array_from_process_local_data(_mesh.first_dim(), copies)
    return _jitted_max()(everywhere)


@functools.cache
def _jitted_max() -> jax.stages.Wrapped:
    return jax.jit(lambda x: jnp.max(x, axis=0), out_shardings=_mesh.replicated())
