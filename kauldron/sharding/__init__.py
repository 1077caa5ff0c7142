"""Sharding: the mesh, the strategy, constraints, host-to-device transfer.

Every placement decision is made here. The names form the published `kd.sharding`:
`DEVICES_MESH`, `REPLICATED` and `FIRST_DIM` are built when first read, because building
them starts the JAX backend.
"""

from __future__ import annotations

from typing import Any

import jax

from kauldron._base import public
from kauldron.sharding import _mesh
from kauldron.sharding._activations import (
    Pipelining,
    pipelining,
    record_activations,
    split_stages,
    with_logical_constraint,
)
from kauldron.sharding._axis_rules import MeshError
from kauldron.sharding._backend import describe_backend
from kauldron.sharding._batch_placer import BatchPlacer
from kauldron.sharding._compiling_in_turn import compile_in_turn
from kauldron.sharding._free_memory import free_bytes
from kauldron.sharding._joining import joined_processes
from kauldron.sharding._named_mesh import Mesh, as_strategy
from kauldron.sharding._placement import (
    BatchSizeError,
    ShardingTree,
    allowing_transfers,
    check_batch,
    device_put,
    fetch_rows,
    map_shardings,
    own_rows,
    put_batch,
    settle,
    spread_rows,
    to_host,
    with_sharding_constraint,
)
from kauldron.sharding._process_agreement import max_over_processes
from kauldron.sharding._starting_together import starting_together
from kauldron.sharding._strategy import FSDPSharding, ShardingStrategy
from kauldron.sharding.state import TrainState

__all__ = [
    "BatchPlacer",
    "BatchSizeError",
    "DEVICES_MESH",
    "FIRST_DIM",
    "FSDPSharding",
    "Mesh",
    "MeshError",
    "Pipelining",
    "REPLICATED",
    "ShardingStrategy",
    "ShardingTree",
    "TrainState",
    "allowing_transfers",
    "as_strategy",
    "check_batch",
    "compile_in_turn",
    "describe_backend",
    "device_put",
    "fetch_rows",
    "free_bytes",
    "joined_processes",
    "map_shardings",
    "max_over_processes",
    "own_rows",
    "pipelining",
    "put_batch",
    "record_activations",
    "settle",
    "split_stages",
    "spread_rows",
    "starting_together",
    "to_host",
    "with_logical_constraint",
    "with_sharding_constraint",
]

DEVICES_MESH: jax.sharding.Mesh
FIRST_DIM: jax.sharding.NamedSharding
REPLICATED: jax.sharding.NamedSharding

_BUILT_WHEN_READ = {
    "DEVICES_MESH": _mesh.devices_mesh,
    "REPLICATED": _mesh.replicated,
    "FIRST_DIM": _mesh.first_dim,
}


def __getattr__(name: str) -> Any:
    if name in _BUILT_WHEN_READ:
        return _BUILT_WHEN_READ[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")


__dir__ = public.publish(__name__)
