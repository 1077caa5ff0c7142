"""KV caches: the protocol that attention layers speak, and the plainest cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, Self, runtime_checkable

import flax.struct
import jax.numpy as jnp

from kauldron.ktyping import Array, Bool, DType, Float, Int, typechecked
from kauldron.modules.attention import _dot_product


class CacheView(NamedTuple):
    """What a layer reads.

    Attributes:
      entries: Name to what was kept of each token, `Array["b s ..."]`.
      positions: Position of each token; -1 is an empty slot.
    """

    entries: Mapping[str, Array["b s *d"]]
    positions: Int["b s"]


# Makes keys `b s k h` and values `b s k v` of what was kept.
ReadKeys = Callable[
    [Mapping[str, Array["b s *d"]]], tuple[Float["b s k h"], Float["b s k v"]]
]


@runtime_checkable
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

    def attend(
        self,
        query: Float["b t n h"],
        positions: Int["b t"],
        read: ReadKeys,
        *,
        window: int | None = None,
        softcap: float | None = None,
        scale: float | None = None,
    ) -> Float["b t n v"]:
        """Returns causal attention to what is kept, by `dot_product_attention`'s rules.

        Args:
          query: Queries.
          positions: Of the queries; nothing is seen from -1.
          read: Makes keys and values of what was kept, of all tokens or of some.
          window: A query sees keys less than so many positions before.
          softcap: The logits stay within plus and minus this.
          scale: Factor of the logits; by default `1 / sqrt(h)`.
        """
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
    `w` if there are `w + t - 1` slots, `t` the most tokens appended at once. Where that
    would forget what the tokens appended look back to, as it always would without a
    window, NaN is kept of them instead: attention to them is NaN.

    Attributes:
      entries: Name to what is kept, `Array["b s ..."]`.
      positions: Position of each slot, -1 if empty.
      window: How many positions back the layer looks; `None` is all.
    """

    entries: Mapping[str, Array["b s *d"]]
    positions: Int["b s"]
    window: int | None = flax.struct.field(pytree_node=False, default=None)

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
        if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(
                f"The `dtype` of a contiguous cache must be a float: got {dtype}. What "
                "is kept in integers needs a cache that scales it."
            )
        entries = {
            name: jnp.zeros((batch_size, num_slots, *shape), dtype or jnp.float32)
            for name, shape in spec.shapes.items()
        }
        positions = jnp.full((batch_size, num_slots), -1, jnp.int32)
        return cls(entries, positions, spec.window)

    @typechecked
    def append(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> ContiguousCache:
        """Returns the cache with these tokens in slot `position % s`; -1 is not kept."""
        self._check(entries, positions)
        num_rows, num_slots = self.positions.shape
        # Beyond the last slot, nothing is written.
        slots = jnp.where(positions < 0, num_slots, positions % num_slots)
        rows = jnp.arange(num_rows)[:, None]
        is_lost = self._forgets_what_is_needed(positions)
        kept = {}
        for name, x in entries.items():
            old = self.entries[name]
            x = jnp.where(is_lost.reshape(-1, *(1,) * (x.ndim - 1)), jnp.nan, x)
            kept[name] = old.at[rows, slots].set(x.astype(old.dtype), mode="drop")
        return self.replace(
            entries=kept,
            positions=self.positions.at[rows, slots].set(positions, mode="drop"),
        )

    def _forgets_what_is_needed(self, positions: Int["b t"]) -> Bool["*b"]:
        """Returns whether a row overwrites what its own tokens look back to."""
        oldest = jnp.zeros(positions.shape[:1], jnp.int32)
        if self.window is not None:
            far = jnp.iinfo(jnp.int32).max
            first = jnp.min(positions, axis=1, where=positions >= 0, initial=far)
            oldest = jnp.maximum(first - self.window + 1, 0)
        last = jnp.max(positions, axis=1, initial=-1)
        return last - self.positions.shape[1] >= oldest

    def _check(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> None:
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
        for name, x in entries.items():
            expected = (*positions.shape, *self.entries[name].shape[2:])
            if x.shape != expected:
                raise ValueError(
                    f"The cache keeps `{name}` in the shape {expected} for "
                    f"{positions.shape[1]} tokens: got {x.shape}. Its shape is what the "
                    "layer's `cache_spec` says."
                )

    def view(self) -> CacheView:
        """Returns all slots, the empty ones with position -1."""
        return CacheView(self.entries, self.positions)

    def attend(
        self,
        query: Float["b t n h"],
        positions: Int["b t"],
        read: ReadKeys,
        *,
        window: int | None = None,
        softcap: float | None = None,
        scale: float | None = None,
    ) -> Float["b t n v"]:
        """Returns causal attention to what is in the slots, see `KVCache.attend`."""
        key, value = read(self.entries)
        return _dot_product.dot_product_attention(
            query,
            key.astype(query.dtype),
            value.astype(query.dtype),
            is_causal=True,
            window=window,
            softcap=softcap,
            scale=scale,
            query_positions=positions,
            key_positions=self.positions,
        )
