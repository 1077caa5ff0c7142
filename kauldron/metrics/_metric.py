"""`Metric`: what to measure, as a stateless object whose fields are keys."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from kauldron import kontext
from kauldron._base import arguments, errors, frozen_dict
from kauldron.metrics import base_state


class NotAStateError(errors.UserError, TypeError):
    """A metric returned a value where a state is needed."""


def _sets_parent(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def with_parent(self: Metric, *args: Any, **kwargs: Any) -> Any:
        return self._attach(method(self, *args, **kwargs))

    return with_parent


def _freezes_fields(post_init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(post_init)
    def with_frozen_fields(self: Metric, *args: Any) -> None:
        post_init(self, *args)
        _freeze_fields(self)

    return with_frozen_fields


def _freeze_fields(metric: Metric) -> None:
    """Makes dicts and lists in the fields immutable: jit hashes the parent of a state."""
    for name, value in list(vars(metric).items()):
        if isinstance(value, dict | list):
            object.__setattr__(metric, name, frozen_dict.freeze(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric(arguments.NamesArguments):
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

    def __post_init__(self) -> None:
        _freeze_fields(self)

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
        if isinstance(state_class, type) and not issubclass(
            state_class, base_state.State
        ):
            raise TypeError(
                f"`{cls.__qualname__}.State` must derive from `kd.metrics.State`, such as "
                f"`kd.metrics.AutoState`: got {state_class.__mro__[1].__name__}."
            )
        for name in ("get_state", "empty"):
            if name in vars(cls):
                setattr(cls, name, _sets_parent(vars(cls)[name]))
        if "__post_init__" in vars(cls):
            cls.__post_init__ = _freezes_fields(vars(cls)["__post_init__"])
        _forget_keys_of_another_wiring(cls)

    def get_state(self, **kwargs: Any) -> base_state.State:
        """Returns the state of one batch. Runs inside jit."""
        raise NotImplementedError(f"{type(self).__qualname__} must define get_state().")

    def empty(self) -> base_state.State:
        """Returns the state of no examples."""
        return self._attach(self.State.empty())

    def get_state_from_context(self, context: kontext.Context) -> base_state.State:
        """Returns the state of the values that the keys point to.

        Raises:
          kontext.KeyPathError: If a key does not exist in the context.
        """
        return self.get_state(**self._resolve_kwargs(context))

    def __call__(self, *, context: kontext.Context = None, **kwargs: Any) -> Any:
        """Returns the value for one batch, given a context or the values themselves."""
        return self._get_state_of(context, kwargs).finalize().compute()

    def __metric_names__(self) -> list[str] | None:
        """Names of the values that `compute` gives; `None` for a single one."""
        return None

    def context_keys(self) -> tuple[str, ...] | None:
        """Returns the keys of the context that are read; `None` if it may be anything.

        A key with wildcards stands for all that it matches. A step records only the
        intermediate values that some key reads.

        A class that overrides how keys become values (`_resolve_kwargs`,
        `get_state_from_context`) may read anything, unless it overrides this, too.
        """
        return tuple(kontext.list_keys(kontext.get_keypaths(self)))

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        """Returns what is wrong with the keys, without measuring anything.

        As with `context_keys`, a class that overrides how keys become values overrides
        this, too; otherwise nothing is known to be wrong.

        Args:
          context: Where the keys point into, usually abstract.
          field: How the user wrote the metric: `"cfg.train_metrics['x']"`.
        """
        return kontext.check_keys(context, self, prefix=field)

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        return kontext.resolve_from_keyed_obj(context, self, func=self.get_state)

    def _get_state_of(self, context: kontext.Context, values: dict[str, Any]) -> Any:
        if context is None:
            return self.get_state(**values)
        if values:
            raise TypeError("Pass either `context=` or the values, not both.")
        return self.get_state_from_context(context)

    def _attach(self, state: object) -> Any:
        if not isinstance(state, base_state.State):
            raise NotAStateError(
                f"`{type(self).__name__}` must measure with states, which can be merged: "
                f"got {type(state).__name__} from its `get_state` or `empty`. Return "
                "`self.State(...)`, whose `compute` gives the value; "
                "`kd.metrics.AverageState.from_values(values)` is the mean of values."
            )
        is_orphan = state.parent is base_state.EMPTY
        return dataclasses.replace(state, parent=self) if is_orphan else state


# What makes values of keys, and what says which keys these are.
_WIRING = ("_resolve_kwargs", "get_state_from_context")


def _forget_keys_of_another_wiring(cls: type[Metric]) -> None:
    """Makes a class read anything whose base says what its keys are, but not for it."""
    wired_at = min(_depth_of(cls, name) for name in _WIRING)
    if wired_at < _depth_of(cls, "context_keys"):
        cls.context_keys = _any_keys
    if wired_at < _depth_of(cls, "check_keys"):
        cls.check_keys = _no_problems


def _depth_of(cls: type, name: str) -> int:
    """Returns how far up in the classes of `cls` a method is defined; 0 is `cls` itself."""
    return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))


def _any_keys(self: Metric) -> None:
    """Returns `None`: it may read anything."""
    del self


def _no_problems(
    self: Metric, context: kontext.Context, *, field: str
) -> list[kontext.KeyProblem]:
    """Returns nothing: which keys are read is not known."""
    del self, context, field
    return []
