"""`Metric`: what to measure, as a stateless object whose fields are keys."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from kauldron import kontext
from kauldron.metrics import base_state


def _sets_parent(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def with_parent(self: Metric, *args: Any, **kwargs: Any) -> Any:
        return self._attach(method(self, *args, **kwargs))

    return with_parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """Base of metrics, losses and summaries.

    A subclass is a frozen dataclass with a nested `State` class and a `get_state`
    method. Its fields annotated `kontext.Key` are paths into the context; the values
    found there are passed to `get_state` under the field's name.

    Example:

    ```python
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mean(kd.metrics.Metric):
        values: kontext.Key = kontext.REQUIRED

        @flax.struct.dataclass
        class State(kd.metrics.AverageState):
            pass

        def get_state(self, values):
            return self.State.from_values(values)
    ```
    """

    State = base_state.State

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compute" in vars(cls):
            raise ValueError(
                f"{cls.__qualname__} defines `compute`. The value is computed by the "
                "state: move it to the nested `State` class."
            )
        state_class = vars(cls).get("State")
        if isinstance(state_class, type) and "__dataclass_fields__" not in vars(
            state_class
        ):
            raise TypeError(
                f"`{cls.__qualname__}.State` must be decorated with "
                "`@flax.struct.dataclass` itself; inheriting from one is not enough."
            )
        for name in ("get_state", "empty"):
            if name in vars(cls):
                setattr(cls, name, _sets_parent(vars(cls)[name]))

    def get_state(self, **kwargs: Any) -> base_state.State:
        """Returns the state of one batch. Runs inside jit."""
        raise NotImplementedError(f"{type(self).__qualname__} must define get_state().")

    def empty(self) -> base_state.State:
        """Returns the state of no examples."""
        return self._attach(self.State.empty())

    def get_state_from_context(self, context: Any) -> base_state.State:
        """Returns the state of the values that the keys point to.

        Raises:
          kontext.KeyPathError: If a key does not exist in the context.
        """
        return self.get_state(**self._resolve_kwargs(context))

    def __call__(self, *, context: Any = None, **kwargs: Any) -> Any:
        """Returns the value for one batch, given a context or the values themselves."""
        if context is not None:
            if kwargs:
                raise TypeError("Pass either `context=` or the values, not both.")
            kwargs = self._resolve_kwargs(context)
        return self.get_state(**kwargs).finalize().compute()

    def __metric_names__(self) -> list[str] | None:
        """Names of the values that `compute` gives; `None` for a single one."""
        return None

    def _resolve_kwargs(self, context: Any) -> dict[str, Any]:
        return kontext.resolve_from_keyed_obj(context, self, func=self.get_state)

    def _attach(self, state: Any) -> Any:
        is_orphan = (
            isinstance(state, base_state.State) and state.parent is base_state.EMPTY
        )
        return state.replace(parent=self) if is_orphan else state


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoopMetric(Metric):
    """Measures nothing; takes the place of a metric that a sweep switches off."""

    State = base_state.EmptyState

    def get_state(self) -> base_state.EmptyState:
        return self.State()
