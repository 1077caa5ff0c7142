"""`IterableDataset`: chainable datasets, each with its spec, length and state."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kauldron._base import root_refs
from kauldron.data import _errors, _specs, iters, utils

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


class IterableDataset(abc.ABC):
    """Batches that can be iterated any number of times, from the start.

    Example:

    ```python
    for batch in ds.take(10).map(augment).prefetch(2):
        ...
    ```
    """

    @property
    @abc.abstractmethod
    def element_spec(self) -> Any:
        """Shapes and dtypes of a batch, a pytree of `enp.ArraySpec`."""

    @abc.abstractmethod
    def __iter__(self) -> iters.Iterator:
        """Returns a new iterator, at the start."""

    def __len__(self) -> int:
        """Returns the number of batches.

        Raises:
          TypeError: If there is no end.
        """
        raise TypeError(f"`{type(self).__name__}` has no known length.")

    @property
    def is_endless(self) -> bool:
        """Whether the batches never end."""
        return False

    def for_evaluation(self) -> IterableDataset:
        """Returns the dataset as evaluators use it: nothing is left out by default."""
        return self

    @property
    def keys_of_the_host(self) -> Collection[str]:
        """Keys of which 64 bits are kept for the host, though devices have 32."""
        return ()

    def run_records(self) -> Sequence[Mapping[str, Any]]:
        """Returns what a run keeps of its data, see `workdir.data_records`; JSON-able.

        A dataset whose examples are chosen from what a folder holds returns the choice,
        and keeps to what it finds recorded when the run goes on.
        """
        return ()

    def map(self, map_fn: Callable[[Any], Any]) -> IterableDataset:
        """Applies a function to each batch."""
        return MappedDataset(source=self, fn=map_fn)

    def prefetch(self, buffer_size: int = 1) -> IterableDataset:
        """Loads up to `buffer_size` batches ahead, in a thread."""
        return PrefetchDataset(source=self, buffer_size=buffer_size)

    def cache(self) -> IterableDataset:
        """Keeps all batches in memory once they were loaded.

        Raises:
          TypeError: If the length is not known.
        """
        return CachedDataset(source=self)

    def take(self, num_examples: int) -> IterableDataset:
        """Ends after some number of batches, despite the argument's published name."""
        return TakeDataset(source=self, num_batches=num_examples)

    def device_put(self, sharding: Any = None) -> IterableDataset:
        """Puts batches on devices; split along the first axis by default.

        Text is left out. With several processes each passes its own rows. A smaller
        last batch is replicated if it does not divide over the devices.
        """
        return DevicePutDataset(source=self, sharding=sharding)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Derived(IterableDataset, root_refs.UpdateFromRootCfg):
    source: IterableDataset

    @property
    def element_spec(self) -> Any:
        return self.source.element_spec

    def __len__(self) -> int:
        return len(self.source)

    @property
    def is_endless(self) -> bool:
        return self.source.is_endless

    @property
    def keys_of_the_host(self) -> Collection[str]:
        return self.source.keys_of_the_host

    def run_records(self) -> Sequence[Mapping[str, Any]]:
        return self.source.run_records()

    def for_evaluation(self) -> IterableDataset:
        return self._for_evaluation

    @functools.cached_property
    def _for_evaluation(self) -> IterableDataset:
        source = self.source.for_evaluation()
        # The same object where nothing changes: it may hold a cache.
        return (
            self if source is self.source else dataclasses.replace(self, source=source)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MappedDataset(_Derived):
    """Batches after a function."""

    fn: Callable[[Any], Any]

    @functools.cached_property
    def element_spec(self) -> Any:
        try:
            return _specs.spec_of(self.fn(_specs.zeros(self.source.element_spec)))
        except Exception:  # a function may fail on zeros; then it gets real data
            with iter(self.source) as batches:
                return _specs.spec_of(self.fn(next(batches)))

    def __iter__(self) -> iters.Iterator:
        return iters.MappedIterator(self, iter(self.source), self.fn)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefetchDataset(_Derived):
    """Batches loaded ahead in a thread."""

    buffer_size: int

    def __post_init__(self) -> None:
        if self.buffer_size < 1:
            raise _errors.DataError(
                f"`buffer_size` must be at least 1: got {self.buffer_size}."
            )

    def __iter__(self) -> iters.Iterator:
        return iters.PrefetchIterator(self, iter(self.source), self.buffer_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CachedDataset(_Derived):
    """Batches kept in memory."""

    def __post_init__(self) -> None:
        if self.source.is_endless:
            raise TypeError(
                "`.cache()` needs a dataset that ends: set `num_epochs`, or call "
                "`.take(n)` first."
            )
        # Without computing the length, which may read the data.
        inner: Any = self.source
        while isinstance(inner, _Derived) and not isinstance(inner, TakeDataset):
            inner = inner.source
        if type(inner).__len__ is IterableDataset.__len__:
            len(inner)  # says that it has none

    def __iter__(self) -> iters.Iterator:
        return iters.ListIterator(self, lambda: self._batches)

    @functools.cached_property
    def _batches(self) -> list[Any]:
        with iter(self.source) as batches:
            return list(batches)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TakeDataset(_Derived):
    """The first batches."""

    num_batches: int

    def __post_init__(self) -> None:
        if self.num_batches < 0:
            raise _errors.DataError(f"`.take(n)` needs n >= 0: got {self.num_batches}.")

    def __len__(self) -> int:
        try:
            return min(self.num_batches, len(self.source))
        except TypeError:
            return self.num_batches

    @property
    def is_endless(self) -> bool:
        return False

    def __iter__(self) -> iters.Iterator:
        return iters.TakeIterator(self, iter(self.source), self.num_batches)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DevicePutDataset(_Derived):
    """Batches on devices."""

    sharding: Any = None

    @property
    def element_spec(self) -> Any:

        spec = utils.batch_specs(self.source.element_spec)
        return utils.get_global_elem_spec(_specs.spec_of(spec), self.sharding)

    def __iter__(self) -> iters.Iterator:
        batches = iter(self.source)
        return iters.MappedIterator(self, batches, _Putter(batches, self.sharding))


class _Putter:
    def __init__(self, batches: iters.Iterator, sharding: Any) -> None:
        self._batches = batches
        self._sharding = sharding
        self._num_rows = 0

    def __call__(self, batch: PyTree) -> Any:
        import jax

        from kauldron import sharding as sharding_lib

        batch = utils.for_devices(batch)
        placement = sharding_lib.FIRST_DIM if self._sharding is None else self._sharding
        is_whole = self._batches.has_whole_batch
        num_rows = max((len(x) for x in jax.tree.leaves(batch) if x.ndim), default=0)
        self._num_rows = max(self._num_rows, num_rows)
        # A smaller last batch need not divide; others must, or devices would idle.
        if is_whole or num_rows < self._num_rows:
            return sharding_lib.put_batch(batch, placement, is_whole=is_whole)
        return sharding_lib.device_put(batch, placement)
