"""KV caches: the protocol that attention layers speak, and the plainest cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

import flax.struct
import jax.numpy as jnp

from kauldron.ktyping import Array, DType, Int, typechecked


class CacheView(NamedTuple):
    """What a layer reads.

    Attributes:
      entries: Name to what was kept of each token, `Array["b s ..."]`.
      positions: Position of each token; -1 is an empty slot.
    """

    entries: Mapping[str, Array["b s *d"]]
    positions: Int["b s"]


class KVCache(Protocol):
    """What one attention layer keeps of the tokens it has seen; a JAX pytree.

    Layers write what they need, such as `key` and `value`, or one `latent`, and don't
    know how it is stored.
    """

    def append(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> Self:
        """Returns the cache with these tokens; nothing of position -1 is kept."""
        ...

    def view(self) -> CacheView:
        """Returns what is kept, in any order."""
        ...


class CacheSpec(NamedTuple):
    """What a layer will write into its cache.

    Attributes:
      shapes: Name to the shape of what is kept of one token.
      window: How many positions back the layer looks; `None` is all.
    """

    shapes: Mapping[str, tuple[int, ...]]
    window: int | None


class ContiguousCache(flax.struct.PyTreeNode):
    """A cache of `s` slots a row: position `p` goes to slot `p % s`.

    With fewer slots than tokens, the oldest are forgotten: right for a layer of window
    `w` if there are `w + t - 1` slots, `t` the most tokens appended at once.

    Attributes:
      entries: Name to what is kept, `Array["b s ..."]`.
      positions: Position of each slot, -1 if empty.
    """

    entries: Mapping[str, Array["b s *d"]]
    positions: Int["b s"]

    @classmethod
    def empty(
        cls,
        spec: CacheSpec,
        *,
        batch_size: int,
        num_slots: int,
        dtype: DType | None = None,
    ) -> ContiguousCache:
        """Returns a cache of zeros, by default in f32."""
        if num_slots < 1:
            raise ValueError(f"A cache needs `num_slots` >= 1: got {num_slots}.")
        entries = {
            name: jnp.zeros((batch_size, num_slots, *shape), dtype or jnp.float32)
            for name, shape in spec.shapes.items()
        }
        return cls(entries, jnp.full((batch_size, num_slots), -1, jnp.int32))

    @typechecked
    def append(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> ContiguousCache:
        num_rows, num_slots = self.positions.shape
        if positions.shape[1] > num_slots:
            raise ValueError(
                f"The cache is too short: {positions.shape[1]} tokens don't fit into "
                f"{num_slots} slots. Make it with more `num_slots`, or append less at "
                "once."
            )
        if positions.shape[0] != num_rows or entries.keys() != self.entries.keys():
            raise ValueError(
                f"The cache has {num_rows} rows of {sorted(self.entries)}: got "
                f"{positions.shape[0]} rows of {sorted(entries)}."
            )
        # Beyond the last slot, nothing is written.
        slots = jnp.where(positions < 0, num_slots, positions % num_slots)
        rows = jnp.arange(num_rows)[:, None]
        kept = {
            name: self.entries[name]
            .at[rows, slots]
            .set(x.astype(self.entries[name].dtype), mode="drop")
            for name, x in entries.items()
        }
        return self.replace(
            entries=kept,
            positions=self.positions.at[rows, slots].set(positions, mode="drop"),
        )

    def view(self) -> CacheView:
        return CacheView(self.entries, self.positions)
