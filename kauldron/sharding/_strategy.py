"""Sharding strategy: how each part of a training run is sharded."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kauldron._base import arguments
from kauldron.ktyping import Array, PyTree
from kauldron.sharding import (
    _axis_rules,
    _mesh,
    _optimizer_placement,
    _placement,
)
from kauldron.sharding._placement import ShardingTree
from kauldron.sharding.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingStrategy(arguments.NamesArguments):
    """Placement of batch and state; by default data parallel, state replicated.

    Each attribute is a prefix tree of: `None` (left to the compiler), a
    `jax.sharding.Sharding` (for the whole subtree), or a callable from the subtree to a
    sharding tree, such as `FSDPSharding()`.

    Attributes:
      batch: Of the batch.
      params: Of the parameters.
      collections: Of the other variable collections (batch statistics, ...).
      opt_state: Of the optimizer state. With `None`, arrays that belong to a parameter,
        such as moments and averages, are placed like the parameter, see `state_of`.
      aux: Of loss, metric and summary states.
    """

    batch: ShardingTree = dataclasses.field(default_factory=_mesh.first_dim)
    params: ShardingTree = dataclasses.field(default_factory=_mesh.replicated)
    collections: ShardingTree = None
    opt_state: ShardingTree = None
    aux: ShardingTree = dataclasses.field(default_factory=_mesh.replicated)

    @property
    def replicated(self) -> NamedSharding:
        """The whole array on every device, on the mesh of this strategy."""
        return _mesh.replicated()

    @property
    def state(self) -> TrainState:
        """A `TrainState` of sharding trees, a prefix of the real state."""
        return TrainState(
            step=cast(Any, self.replicated),
            params=self.params,
            collections=self.collections,
            opt_state=self.opt_state,
        )

    def state_of(self, state: TrainState) -> TrainState:
        """Returns the sharding trees for a state, a prefix of it.

        They are those of `state`; where `opt_state` is `None`, the arrays of the optimizer
        state that have the path (its end) and the shape of a parameter are placed as that
        one, if any parameter is split. The others are left to the compiler.

        Args:
          state: Arrays, tracers, or `jax.ShapeDtypeStruct`s.
        """
        shardings = self.state
        if shardings.opt_state is not None or state.opt_state is None:
            return shardings
        followed = _optimizer_placement.follow(
            state.opt_state, state.params, shardings.params
        )
        return dataclasses.replace(shardings, opt_state=followed)

    def set_global_mesh(self) -> contextlib.AbstractContextManager[Any]:
        """A context that wraps each step, and each forward pass of an evaluation.

        In that of a `Mesh`, modules split their activations. Override it to set a mesh of
        your own for all.
        """
        return contextlib.nullcontext()

    def check_batch(self, specs: PyTree) -> None:
        """Raises if a training batch could not be split; no data are needed.

        Args:
          specs: Anything with `shape`, of the global batch or of a part that is summed up.

        Raises:
          BatchSizeError: If its first axis does not divide.
        """
        _placement.check_batch(specs, self.batch)

    def remarks(self, state: TrainState) -> list[str]:
        """Returns what a user may not know of the placement, a text each.

        Args:
          state: Arrays, or specs such as `trainer.state_specs`.
        """
        del state
        return []

    @property
    def ds(self) -> Any:
        """The name that `batch` had in older configs.

        Raises:
          DeprecationWarning: Always.
        """
        raise DeprecationWarning(
            "`ShardingStrategy.ds` is `ShardingStrategy.batch`: write "
            "`trainer.sharding.batch`."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FSDPSharding(arguments.NamesArguments):
    """Splits large arrays over all devices, each along its largest divisible axis.

    Attributes:
      min_size_to_shard_mb: Arrays up to this size (MiB) are replicated.

    Raises:
      MeshError: If that is no size.

    Reference: Rajbhandari et al. 2020, ZeRO (stage 3), arXiv:1910.02054.
    """

    min_size_to_shard_mb: float = 4

    def __post_init__(self) -> None:
        _axis_rules.check_min_size(self.min_size_to_shard_mb)

    def __call__(self, tree: PyTree) -> PyTree:
        return jax.tree.map(self._sharding_of, tree)

    def _sharding_of(self, x: Array) -> NamedSharding:
        if jnp.issubdtype(x.dtype, jax.dtypes.extended):  # keys: few, and small
            return _mesh.replicated()
        num_bytes = int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize
        if num_bytes <= self.min_size_to_shard_mb * 2**20:
            return _mesh.replicated()
        num_devices = jax.device_count()
        divisible = [i for i, size in enumerate(x.shape) if size % num_devices == 0]
        if not divisible:
            return _mesh.replicated()
        axis = max(divisible, key=lambda i: x.shape[i])
        spec: list[str | None] = [None] * len(x.shape)
        spec[axis] = _mesh.DEVICES_AXIS
        return NamedSharding(_mesh.devices_mesh(), PartitionSpec(*spec))
