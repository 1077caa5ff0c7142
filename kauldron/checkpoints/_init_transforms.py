"""Init transforms: changes to the initial state, such as loading pretrained weights."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from kauldron._base import arguments
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState


class InitTransform(arguments.NamesArguments, abc.ABC):
    """Changes the state of a new run; a resumed run skips it.

    Values may change; the structure, shapes and dtypes may not.
    """

    def check(self, state: TrainState) -> None:
        """Finds what does not fit, before anything is compiled or read.

        Args:
          state: The initial state, as `jax.ShapeDtypeStruct`s.
        """

    @abc.abstractmethod
    def transform(self, state: TrainState) -> TrainState:
        """Changes the state before the optimizer state is made from the parameters."""

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        """Changes the state when the optimizer state exists as well."""
        return state


class NoopTransform(InitTransform):
    """Changes nothing."""

    def transform(self, state: TrainState) -> TrainState:
        return state


class MultiTransform(InitTransform):
    """Applies several transforms in the order given.

    Args:
      **transforms: Name -> transform; the name appears in errors.
    """

    def __init__(self, **transforms: InitTransform) -> None:
        self._transforms: Mapping[str, InitTransform] = transforms

    def check(self, state: TrainState) -> None:
        self._apply("check", state)

    def transform(self, state: TrainState) -> TrainState:
        return self._apply("transform", state)

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        return self._apply("transform_after_optimizer", state)

    def _apply(self, method: str, state: PyTree) -> Any:
        for name, transform in self._transforms.items():
            try:
                changed = getattr(transform, method)(state)
                state = state if method == "check" else changed
            except Exception as e:
                e.add_note(f"In the init transform {name!r}.")
                raise
        return state
