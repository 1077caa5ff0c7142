"""The kinds of transforms: map, filter, element-wise, random."""

from __future__ import annotations

import abc
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from kauldron._base import arguments
from kauldron.data import _columns, _errors

if TYPE_CHECKING:
    import numpy as np

    from kauldron.data._draws import Draws


def _register_with_grain() -> None:
    is_ready = "RandomMapTransform" in globals()  # the last of our kinds
    if is_ready and hasattr(sys.modules.get("grain"), "transforms"):
        _register_once()


@functools.cache
def _register_once() -> None:
    kinds = sys.modules["grain"].transforms
    kinds.Map.register(MapTransform)
    kinds.Filter.register(FilterTransform)
    kinds.RandomMap.register(RandomMapTransform)


class _ForGrain(arguments.NamesArguments):
    """What grain takes for one of its own transforms.

    grain is not imported for it. Once it is, our kinds are registered as virtual
    subclasses of its kinds when one of our transforms is defined or made; what was made
    before works there as well, as a function.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register_with_grain()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        _register_with_grain()
        return super().__new__(cls, *args, **kwargs)


class MapTransform(_ForGrain, abc.ABC):
    """Changes each element; derive and implement `map`. A grain `MapTransform` too.

    A transform that can work on many elements at once also implements
    `map_columns(columns, num_rows)`, which takes and returns a dict of columns: arrays
    with a leading axis of rows, or lists of values. It must do what `map` does.
    """

    @abc.abstractmethod
    def map(self, features: Mapping[str, Any]) -> Any:
        """Returns the changed element."""

    def __call__(self, features: Mapping[str, Any]) -> Any:
        """Returns `map(features)`."""
        return self.map(features)


class FilterTransform(_ForGrain, abc.ABC):
    """Keeps some of the elements; derive and implement `filter`."""

    @abc.abstractmethod
    def filter(self, element: Any) -> bool:
        """Returns whether the element is kept."""

    def __call__(self, element: Any) -> bool:
        """Returns `filter(element)`."""
        return self.filter(element)


class RandomMapTransform(_ForGrain, abc.ABC):
    """Changes each element with randomness; derive and implement `random_map`."""

    def __call__(self, element: Any, rng: np.random.Generator) -> Any:
        """Returns `random_map(element, rng)`."""
        return self.random_map(element, rng)

    @abc.abstractmethod
    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        """Returns the changed element; `rng` depends on (seed, epoch, example)."""


class ChunkTransform(arguments.NamesArguments, abc.ABC):
    """Makes other elements of some that follow each other: packs, windows.

    Derive and implement `map_chunk`. The order of a pipeline, shuffled or not, is cut into
    chunks; what becomes of one must depend on it alone. So batches stay the same after an
    interruption, for any number of workers and processes. Each process goes through all
    chunks, as with filters.

    Attributes:
      chunk_size: Number of elements that `map_chunk` gets; the last of an epoch may be
        fewer.
      max_rows: How many elements a chunk may give.

    Example:

    ```python
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pairs(kd.data.ChunkTransform):
        chunk_size: int = 2

        def map_chunk(self, elements):
            return [{"x": [e["x"] for e in elements]}] if len(elements) == 2 else []
    ```
    """

    chunk_size: int

    @property
    def max_rows(self) -> int:
        """How many elements a chunk may give; as many as it gets unless overridden."""
        return self.chunk_size

    @abc.abstractmethod
    def map_chunk(self, elements: list[Any]) -> list[Any]:
        """Returns the elements that take the place of some others, at most `max_rows`."""


class BatchTransform(arguments.NamesArguments, abc.ABC):
    """Changes whole batches, after all other transforms; implement `map_batch`."""

    @abc.abstractmethod
    def map_batch(self, batch: Any, draws: Draws) -> Any:
        """Returns the changed batch.

        Args:
          batch: Arrays with a leading axis of rows: this process's part of the batch.
          draws: Random numbers, one stream per row.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class _KeyedTransform:
    """Base of transforms that work on some keys of dict elements.

    Attributes:
      key: Name, or names, or a mapping from the name that is read to the one that is
        written (the element keeps both). Keys that an element lacks are left out; at
        least one must be there.

    Raises:
      DataKeyError: If there is no key.
    """

    key: str | Sequence[str] | Mapping[str, str]

    def __post_init__(self) -> None:
        _ = self._targets

    @functools.cached_property
    def _targets(self) -> dict[str, str]:
        """From the key that is read to the key that is written."""
        if isinstance(self.key, str):
            targets = {self.key: self.key} if self.key else {}
        elif isinstance(self.key, Mapping):
            targets = dict(self.key)
        else:
            targets = {key: key for key in self.key}
        if not targets:
            raise _errors.DataKeyError(
                f"{type(self).__name__}: `key` is empty. Name at least one key of the "
                "elements, e.g. `key='image'`."
            )
        return targets

    def _present(self, element: object) -> dict[str, str]:
        if not isinstance(element, Mapping):
            raise _errors.DataError(
                f"{type(self).__name__} needs elements that are dicts: got "
                f"{type(element).__name__}."
            )
        targets = self._targets
        present = {k: out for k, out in targets.items() if k in element}
        if not present:
            raise _errors.missing_key(type(self).__name__, next(iter(targets)), element)
        return present


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementWiseTransform(_KeyedTransform, MapTransform):
    """Changes the values of some keys; derive and implement `map_element`.

    A transform that is as good on an array of values with any leading axes says so by
    also implementing `map_batch(values)`; often `map_batch = map_element`. Whole batches
    are then changed at once.

    Attributes:
      key: Name, or names, or a mapping from the name that is read to the one that is
        written (the element keeps both). Keys that an element lacks are left out; at
        least one must be there.

    Example:

    ```python
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Scale(kd.data.ElementWiseTransform):
        factor: float

        def map_element(self, element):
            return element * self.factor

        map_batch = map_element
    ```
    """

    @abc.abstractmethod
    def map_element(self, element: Any) -> Any:
        """Returns the changed value of one key."""

    def map(self, features: Mapping[str, Any]) -> Any:
        changed = {
            out: self.map_element(features[key])
            for key, out in self._present(features).items()
        }
        return {**features, **changed}

    def map_columns(self, columns: dict[str, Any], num_rows: int) -> dict[str, Any]:
        """Changes `num_rows` elements at once, as columns."""
        del num_rows
        changed = {
            out: self._map_column(columns[key])
            for key, out in self._present(columns).items()
        }
        return {**columns, **changed}

    def _map_column(self, column: _columns.Column) -> _columns.Column:
        if overrides_together(self, "map_batch", "map_element") and (
            _columns.is_stackable(column)
        ):
            return cast(Any, self).map_batch(_columns.stack(column))
        return [self.map_element(value) for value in _columns.rows(column)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementWiseRandomTransform(_KeyedTransform, RandomMapTransform):
    """Changes the values of some keys, with the same randomness for all of them.

    Derive and implement `random_map_element`. It draws the same numbers for every key of
    an element: an image and its mask are cropped alike.

    Attributes:
      key: As in `ElementWiseTransform`.
    """

    @abc.abstractmethod
    def random_map_element(self, element: Any, rng: np.random.Generator) -> Any:
        """Returns the changed value of one key."""

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        present = self._present(element)
        state = rng.bit_generator.state
        changed = {}
        for key, out in present.items():
            rng.bit_generator.state = state
            changed[out] = self.random_map_element(element[key], rng)
        return {**element, **changed}


def overrides_together(transform: object, fast: str, plain: str) -> bool:
    """Whether a fast method still does what the plain one does.

    It does if the class that defines it is not older than the one that defines the
    plain method: a subclass that overrides `map_element` alone gets its own.
    """
    return _overrides_together(type(transform), fast, plain)


@functools.cache
def _overrides_together(cls: type, fast: str, plain: str) -> bool:
    for base in cls.__mro__:
        if fast in vars(base):
            return True
        if plain in vars(base):
            return False
    return False
