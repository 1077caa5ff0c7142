"""`PagedCache`: keys and values of many rows in one pool of pages on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Array, DType, Int, PyTree


class PagedCache(flax.struct.PyTreeNode):
    """What one attention layer keeps of the tokens of all rows: a `kd.nn.KVCache`.

    Position `p` of a row is at `p % page_size` in the page that the row's table names
    for `p // page_size`. Rows with the same page in their tables share what is in it:
    also what is appended for one of them in the same call.

    Attributes:
      pages: Name to what is kept, `Array["pages page_size ..."]`.
      tables: Pages of each row of the call, in the order of positions; -1 is none.
      last: The last position of each row that is kept; -1 if there is none.
    """

    pages: Mapping[str, Array["*any"]]
    tables: Int["*layers b p"]
    last: Int["*layers b"]

    @classmethod
    def empty(
        cls,
        spec: nn.CacheSpec,
        *,
        num_pages: int,
        page_size: int,
        dtype: DType | None = None,
    ) -> PagedCache:
        """Returns a pool of zeros, by default in f32, without rows."""
        pages = {
            name: jnp.zeros((num_pages, page_size, *shape), dtype or jnp.float32)
            for name, shape in spec.shapes.items()
        }
        return cls(pages, jnp.zeros((0, 0), jnp.int32), jnp.zeros(0, jnp.int32))

    def append(
        self, entries: Mapping[str, Array["b t *d"]], positions: Int["b t"]
    ) -> PagedCache:
        some = next(iter(self.pages.values()))
        num_pages, page_size = some.shape[:2]
        place = jnp.where(positions < 0, 0, positions) // page_size
        page = jnp.take_along_axis(
            self.tables, place, axis=1, mode="fill", fill_value=-1
        )
        # Beyond the last page, nothing is written.
        page = jnp.where((positions < 0) | (page < 0), num_pages, page)
        slot = positions % page_size
        pages = {
            name: self.pages[name]
            .at[page, slot]
            .set(x.astype(self.pages[name].dtype), mode="drop")
            for name, x in entries.items()
        }
        last = jnp.max(positions, axis=1, initial=-1)
        return self.replace(pages=pages, last=jnp.maximum(self.last, last))

    def view(self) -> nn.CacheView:
        num_rows, num_places = self.tables.shape
        page_size = next(iter(self.pages.values())).shape[1]
        index = jnp.arange(num_places * page_size, dtype=jnp.int32)
        is_page = jnp.repeat(self.tables >= 0, page_size, axis=1)
        is_kept = is_page & (index <= self.last[:, None])

        def read(pages: Array["*any"]) -> Array["*any"]:
            rows = pages.at[self.tables].get(mode="clip")
            rows = rows.reshape(num_rows, index.size, *pages.shape[2:])
            # What another row left in a page may be infinite, and its weight of 0 is not
            # enough then.
            is_here = is_kept.reshape(*is_kept.shape, *(1,) * (rows.ndim - 2))
            return jnp.where(is_here, rows, jnp.zeros((), rows.dtype))

        positions = jnp.where(is_kept, index, -1)
        return nn.CacheView({k: read(x) for k, x in self.pages.items()}, positions)


def make_pool(
    model: nn.CausalLM, *, num_pages: int, page_size: int, dtype: Any = None
) -> Any:
    """Returns the empty pages of all layers of a model."""
    return model.init_cache(
        lambda spec: PagedCache.empty(
            spec, num_pages=num_pages, page_size=page_size, dtype=dtype
        )
    )


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
        axis = cache.tables.ndim - 2
        pages = {}
        for name, x in cache.pages.items():
            at = (slice(None),) * axis
            taken = x.at[*at, source].get(mode="clip")
            # Beyond the last page, nothing is written.
            place = jnp.where(target < 0, x.shape[axis], target)
            pages[name] = x.at[*at, place].set(taken, mode="drop")
        return cache.replace(pages=pages)

    return jax.tree.map(copy, pool, is_leaf=lambda x: isinstance(x, PagedCache))
