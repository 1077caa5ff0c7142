"""Transforms of every key that satisfies a predicate."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron import data

if TYPE_CHECKING:
    import numpy.typing as npt


def matching_keys(
    element: Mapping[str, Any], predicate: str | Callable[[str, Any], bool]
) -> list[str]:
    """Returns the keys of an element that fit, in its order.

    Args:
      element: The element.
      predicate: A regular expression that a key fits as a whole, or a function of key
        and value.

    Raises:
      DataKeyError: If none does.
    """
    if isinstance(predicate, str):
        pattern = re.compile(predicate)
        found = [key for key in element if pattern.fullmatch(key)]
    else:
        found = [key for key, value in element.items() if predicate(key, value)]
    if not found:
        raise data.DataKeyError(
            f"No key of the elements fits {predicate!r}. There are {sorted(element)}."
        )
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementWiseTransformWithPredicate(data.MapTransform):
    """Changes the values of all keys that fit; derive and implement `map_element`.

    Attributes:
      predicate: See `matching_keys`.
    """

    predicate: str | Callable[[str, Any], bool]

    @abc.abstractmethod
    def map_element(self, element: npt.ArrayLike) -> Any:
        """Returns the changed value of one key."""

    def map(self, element: Any) -> Any:
        keys = matching_keys(element, self.predicate)
        return {**element, **{key: self.map_element(element[key]) for key in keys}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementWiseRandomTransformWithPredicate(data.RandomMapTransform):
    """The same with randomness, which all keys share; implement `random_map_element`.

    Attributes:
      predicate: See `matching_keys`.
    """

    predicate: str | Callable[[str, Any], bool]

    @abc.abstractmethod
    def random_map_element(self, element: Any, rng: np.random.Generator) -> Any:
        """Returns the changed value of one key."""

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        state = rng.bit_generator.state
        changed = {}
        for key in matching_keys(element, self.predicate):
            rng.bit_generator.state = state
            changed[key] = self.random_map_element(element[key], rng)
        return {**element, **changed}
