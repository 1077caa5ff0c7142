"""`PagedCache`: keys and values of many rows in one pool of pages on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Array, DType, Float, Int, PyTree, ScalarInt
from kauldron.serve.device import _paged_kernels

# Keys of a row that are read at once.
_BLOCK = 128


class PagedCache(flax.struct.PyTreeNode):
    """What one attention layer keeps of the tokens of all rows: a `kd.nn.KVCache`.

    Position `p` of a row is at `p % page_size` in the page that the row's table names
    for `p // page_size`. Rows with the same page in their tables share what is in it:
    also what is appended for one of them in the same call.

    Attributes:
      pages: Name to what is kept of shape `*d h`, `Array["*d pages page_size h"]`.
      tables: Pages of each row of the call, in the order of positions; -1 is none.
      last: The last position of each row that is kept; -1 if there is none.
      attention: How single queries of rows are answered that see all keys.
      num_layers: Of how many layers the pages are, those of each one after the other.
      dtype: Of the numbers; `pages` may have their bits.
    """

    pages: Mapping[str, Array["*any"]]
    tables: Int["*layers b p"]
    last: Int["*layers b"]
    attention: _paged_kernels.Attention = flax.struct.field(
        pytree_node=False, default="gather"
    )
    num_layers: int = flax.struct.field(pytree_node=False, default=1)
    dtype: Any = flax.struct.field(pytree_node=False, default=jnp.float32)

    @classmethod
    def empty(
        cls,
        spec: nn.CacheSpec,
        *,
        num_pages: int,
        page_size: int,
        dtype: DType | None = None,
        attention: _paged_kernels.Attention = "gather",
    ) -> PagedCache:
        """Returns a pool of zeros, by default in f32, without rows."""
        dtype = jnp.dtype(dtype or jnp.float32)
        pages = {
            name: jnp.zeros(
                (*shape[:-1], num_pages, page_size, shape[-1]), _kept_as(dtype)
            )
            for name, shape in spec.shapes.items()
        }
        nobody = jnp.zeros((0, 0), jnp.int32), jnp.zeros(0, jnp.int32)
        return cls(pages, *nobody, attention=attention, dtype=dtype)

    def of_layer(self, layer: ScalarInt) -> PagedCache:
        """Returns what one of the layers keeps, with the same pages."""
        return self.replace(tables=self.in_layer(self.tables, layer))

    def in_layer(self, pages: Int["*any"], layer: ScalarInt) -> Int["*any"]:
        """Returns where pages of a layer, as tables name them, are among all."""
        return jnp.where(
            pages < 0, -1, pages + layer * (self._sizes[0] // self.num_layers)
        )

    def append(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> PagedCache:
        num_pages, page_size = self._sizes
        place = jnp.where(positions < 0, 0, positions) // page_size
        page = jnp.take_along_axis(
            self.tables, place, axis=1, mode="fill", fill_value=-1
        )
        # Beyond the last page, nothing is written.
        page = jnp.where((positions < 0) | (page < 0), num_pages, page)
        slot = positions % page_size
        pages = {}
        for name, x in entries.items():
            old = self.pages[name]
            lead = (slice(None),) * (x.ndim - 3)
            x = _bits(jnp.moveaxis(x, (0, 1), (-3, -2)).astype(self.dtype), old.dtype)
            pages[name] = old.at[*lead, page, slot].set(x, mode="drop")
        last = jnp.max(positions, axis=1, initial=-1)
        return self.replace(pages=pages, last=jnp.maximum(self.last, last))

    def view(self) -> nn.CacheView:
        return self._block(jnp.int32(0), self.tables.shape[1])

    def attend(
        self,
        query: Float["b t n h"],
        positions: Int["b t"],
        read: Callable[[Mapping[str, Array["b s *d"]]], tuple[Any, Any]],
        *,
        window: int | None = None,
        softcap: float | None = None,
        scale: float | None = None,
    ) -> Float["b t n v"]:
        is_single = query.shape[1] == 1 and window is None
        if self.attention != "gather" and is_single and _has_keys(self.pages):
            found = _paged_kernels.attend(
                query[:, 0],
                _bits(self.pages["key"], self.dtype),
                _bits(self.pages["value"], self.dtype),
                self.tables,
                self.last + 1,
                softcap=softcap,
                scale=scale,
                interpret=self.attention == "interpreted kernel",
            )
            return found[:, None].astype(query.dtype)
        _, page_size = self._sizes
        num_places = min(max(_BLOCK // page_size, 1), self.tables.shape[1])
        size = num_places * page_size

        def block(index: ScalarInt) -> nn.KeyBlock:
            entries, at = self._block(index, num_places)
            key, value = (x.astype(query.dtype) for x in read(entries))
            return nn.KeyBlock(key, value, at)

        first = jnp.int32(0)
        if window is not None:
            far = jnp.iinfo(jnp.int32).max
            oldest = jnp.min(positions, initial=far, where=positions >= 0)
            first = jnp.maximum(oldest - window + 1, 0) // size
        return nn.attend_key_blocks(
            query,
            block,
            first,
            jnp.max(self.last, initial=-1) // size + 1,
            query_positions=positions,
            window=window,
            softcap=softcap,
            scale=scale,
        )

    def _block(self, index: ScalarInt, num_places: int) -> nn.CacheView:
        """Returns what is kept in some places of the tables, from a multiple of them."""
        _, page_size = self._sizes
        width = ((0, 0), (0, -self.tables.shape[1] % num_places))
        tables = jnp.pad(self.tables, width, constant_values=-1)
        start = index * num_places
        tables = jax.lax.dynamic_slice_in_dim(tables, start, num_places, axis=1)
        at = start * page_size + jnp.arange(num_places * page_size, dtype=jnp.int32)
        is_kept = jnp.repeat(tables >= 0, page_size, axis=1)
        is_kept &= at <= self.last[:, None]

        def read(pages: Array["*any"]) -> Array["*any"]:
            lead = (slice(None),) * (pages.ndim - 3)
            found = _bits(pages.at[*lead, tables].get(mode="clip"), self.dtype)
            # `*d b place slot h` is what the products read, so nothing is moved.
            found = jnp.moveaxis(found, (-4, -3, -2), (0, 1, 2))
            found = found.reshape(*is_kept.shape, *found.shape[3:])
            # What another row left in a page may be infinite, and its weight of 0 is not
            # enough then.
            is_here = is_kept.reshape(*is_kept.shape, *(1,) * (found.ndim - 2))
            return jnp.where(is_here, found, jnp.zeros((), found.dtype))

        entries = {name: read(pages) for name, pages in self.pages.items()}
        return nn.CacheView(entries, jnp.where(is_kept, at, -1))

    @property
    def _sizes(self) -> tuple[int, int]:
        some = next(iter(self.pages.values()))
        return some.shape[-3], some.shape[-2]


def _kept_as(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype of pages that hold numbers of a dtype.

    To write to an array in bf16 on a CPU, XLA makes all of it wide, and narrow again: there,
    pages hold its bits.
    """
    has_bits = dtype == jnp.bfloat16 and jax.default_backend() == "cpu"
    return jnp.dtype(jnp.uint16) if has_bits else dtype


def _bits(x: Array["*any"], dtype: jnp.dtype) -> Array["*any"]:
    """Returns an array as one of a dtype of the same size, bit for bit."""
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)


def _has_keys(pages: Mapping[str, Array["*any"]]) -> bool:
    """Whether pages hold what attention reads, and not what it is computed from."""
    return set(pages) == _paged_kernels.NAMES


def make_pool(
    model: nn.CausalLM,
    *,
    num_pages: int,
    page_size: int,
    dtype: Any = None,
    attention: _paged_kernels.Attention = "gather",
    is_one: bool = False,
) -> Any:
    """Returns the empty pages of all layers of a model.

    With `is_one`, one cache has them all, of a model whose layers keep the same.
    """
    num_layers = model.num_layers if is_one else 1

    def empty(spec: nn.CacheSpec) -> PagedCache:
        cache = PagedCache.empty(
            spec,
            num_pages=num_layers * num_pages,
            page_size=page_size,
            dtype=dtype,
            attention=attention,
        )
        return cache.replace(num_layers=num_layers)

    if is_one:
        (spec, *_) = model.init_cache(lambda spec: spec)
        return empty(spec)
    return model.init_cache(empty)


def with_rows(pool: PyTree, tables: Int["b p"]) -> Any:
    """Returns a pool whose layers keep and show the tokens of some rows.

    Args:
      pool: Of all layers.
      tables: Pages of each row; -1 is none.
    """

    last = jnp.full(tables.shape[:1], -1, jnp.int32)
    return _bound(pool, tables, last)


def without_rows(pool: PyTree) -> Any:
    """Returns a pool as `make_pool` made it, with what is in its pages now."""
    return _bound(pool, jnp.zeros((0, 0), jnp.int32), jnp.zeros(0, jnp.int32))


def _bound(pool: PyTree, tables: Int["b p"], last: Int["*b"]) -> Any:
    def bind(cache: PagedCache) -> PagedCache:
        layers = cache.tables.shape[:-2]
        return cache.replace(
            tables=jnp.broadcast_to(tables, (*layers, *tables.shape)),
            last=jnp.broadcast_to(last, (*layers, *last.shape)),
        )

    return jax.tree.map(bind, pool, is_leaf=lambda x: isinstance(x, PagedCache))


def copy_pages(pool: PyTree, source: Int["*k"], target: Int["*k"]) -> Any:
    """Returns a pool in which some pages are like others; a target of -1 is none."""

    def copy(cache: PagedCache) -> PagedCache:
        layers = jnp.arange(cache.num_layers)[:, None]
        taken_from, put_to = (
            cache.in_layer(pages, layers).reshape(-1) for pages in (source, target)
        )
        pages = {}
        for name, x in cache.pages.items():
            lead = (slice(None),) * (x.ndim - 3)
            taken = x.at[*lead, taken_from].get(mode="clip")
            # Beyond the last page, nothing is written.
            place = jnp.where(put_to < 0, x.shape[-3], put_to)
            pages[name] = x.at[*lead, place].set(taken, mode="drop")
        return cache.replace(pages=pages)

    return jax.tree.map(copy, pool, is_leaf=lambda x: isinstance(x, PagedCache))
