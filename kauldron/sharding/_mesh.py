"""The device mesh, and the two shardings that most code needs."""

from __future__ import annotations

import functools

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DEVICES_AXIS = "devices"


@functools.cache
def devices_mesh() -> Mesh:
    """All devices of all processes on one axis, `'devices'`."""
    # Auto: XLA propagates shardings. `make_mesh` defaults to Explicit axes, under which
    # `with_sharding_constraint` only asserts.
    return jax.make_mesh(
        (jax.device_count(),), (DEVICES_AXIS,), axis_types=(AxisType.Auto,)
    )


@functools.cache
def replicated() -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(devices_mesh(), PartitionSpec())


@functools.cache
def first_dim() -> NamedSharding:
    """The first axis split over all devices."""
    return NamedSharding(devices_mesh(), PartitionSpec(DEVICES_AXIS))


@functools.cache
def are_simulated() -> bool:
    """Whether one process holds several CPU devices."""
    return jax.default_backend() == "cpu" and jax.local_device_count() > 1
