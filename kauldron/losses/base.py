"""`Loss` and the sum of a tree of losses."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron._base import arguments, frozen_dict
from kauldron.ktyping import Array, Float, PyTree, Scalar, typechecked
from kauldron.losses import _masking
from kauldron.metrics import base_state, exact_sums

# Registered before the first tree of losses is traced.
frozen_dict.register_pytree()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(metrics.Metric):
    """Base of losses: a subclass gives one value per element, the mean is taken here.

    The loss is `weight * sum(values * mask) / sum(mask)`, the mask broadcast to the
    values; without a mask, `weight` times the mean of all values.

    Attributes:
      step: Key to the step, for a `weight` that is a schedule.
      mask: Key to weights of the values; an axis may be 1 or missing at the end.
      weight: A factor, or a schedule from step to factor, such as `kd.losses.Window`.
      normalize_by: `'mask'` divides by the sum of the mask, `'values'` by the number of
        values, masked or not.
      log_raw: Whether the value without the weight is reported too. `losses/<name>` is
        the weighted value, `losses_raw/<name>` the raw one.
    """

    step: kontext.Key = "step"
    mask: kontext.Key | None = None
    weight: Any = 1.0  # float | optax.Schedule
    normalize_by: Literal["mask", "values"] = "mask"
    log_raw: bool = False

    # Whether the value of an example depends on the rest of its batch.
    compares_examples: ClassVar[bool] = False

    @flax.struct.dataclass
    class State(base_state.AverageState):
        """A weighted mean of values; `total` has the weight of the loss in it.

        Attributes:
          raw_total: Sum of the unmasked values before the weight, `Float32[""]`.
        """

        raw_total: Float["*n"] | None = None

        def adds_up(self) -> bool:
            return True

        def merge(self, other: Self) -> Self:
            merged = super().merge(other)
            # States that a subclass makes without it have no raw total.
            raw_total = None
            if self.raw_total is not None and other.raw_total is not None:
                raw_total = exact_sums.add_arrays(self.raw_total, other.raw_total)
            return dataclasses.replace(merged, raw_total=raw_total)

        @classmethod
        def empty(cls) -> Self:
            return dataclasses.replace(
                super().empty(), raw_total=np.zeros((), np.float32)
            )

        def compute(self) -> np.ndarray:
            # Not NaN, the mean of nothing: a loss is a term of a sum.
            return np.where(self.count == 0, 0, super().compute())

        def compute_raw(self) -> np.ndarray:
            """Returns the mean without the weight of the loss. Runs on the host.

            Raises:
              ValueError: If the state was made without `raw_total`.
            """
            if self.raw_total is None:
                raise ValueError(
                    f"The raw value of {type(self.parent).__name__} is not known: its "
                    "states have no `raw_total`. Define `get_values` rather than "
                    "`get_state`, or set `log_raw=False`."
                )
            return dataclasses.replace(self, total=self.raw_total).compute()

    def __post_init__(self) -> None:
        if self.normalize_by not in ("mask", "values"):
            raise ValueError(
                f"`normalize_by` must be 'mask' or 'values': got {self.normalize_by!r}."
            )

    def get_values(self, **kwargs: Any) -> Float:
        """Returns the loss of each element, unreduced, batch axes kept."""
        raise NotImplementedError(f"{type(self).__qualname__} must define get_values.")

    @typechecked
    def get_state(
        self,
        *args: Any,
        mask: Array | float | None = None,
        step: Scalar | None = None,
        **kwargs: Any,
    ) -> State:
        args, kwargs = self._guard(args, kwargs, mask)
        values = self.get_values(*args, **kwargs)
        return self._to_state(values, mask=mask, step=step)

    def _guard(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        mask: Array | float | None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the inputs without masked non-finite values."""
        if mask is None:
            return args, kwargs
        names = list(inspect.signature(self.get_values).parameters)[: len(args)]
        names += [""] * (len(args) - len(names))

        def guard(name: str, x: PyTree) -> Any:
            is_masked_at = functools.partial(self._is_masked, name, mask)
            return _masking.guard_tree(x, is_masked_at)

        return tuple(map(guard, names, args)), {
            k: guard(k, x) for k, x in kwargs.items()
        }

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        """Returns where an input is masked, see `_masking.leading`.

        Override it where the axes of the values are not leading axes of the inputs.
        """
        del name
        return _masking.leading(mask, shape)

    def __call__(self, *, context: kontext.Context = None, **kwargs: Any) -> Any:
        """Returns the weighted mean, a scalar; also inside jit and `jax.grad`."""
        state = self._get_state_of(context, kwargs)
        return state.mean() if exact_sums.is_traced(state) else state.compute()

    def _to_state(
        self, values: jax.Array, *, mask: Array | float | None, step: Scalar | None
    ) -> State:
        """Returns the state of values `Array["*a"]`, before mask and weight.

        Raises:
          TypeError: If they are complex.
        """
        if jnp.iscomplexobj(values):
            raise TypeError(
                f"`{type(self).__name__}` has complex values ({values.dtype}), and a "
                "loss must be real to have a gradient. Take `jnp.abs` or `jnp.real` of "
                "what it is given."
            )
        state = self.State.from_values(values, mask=mask)
        if self.normalize_by == "values":
            state = dataclasses.replace(state, count=jnp.float32(jnp.size(values)))
        total, weight = state.total, self.get_weight(step)
        if not (isinstance(weight, int | float) and weight == 1):
            total *= weight
        return dataclasses.replace(state, total=total, raw_total=state.total)

    @typechecked
    def get_weight(self, step: Scalar | None = None) -> Scalar:
        """Returns the weight at a step.

        Raises:
          ValueError: If the weight is a schedule and there is no step.
        """
        if not callable(self.weight):
            return self.weight
        schedule: Callable[..., Any] = self.weight
        if step is None:
            raise ValueError(
                f"The weight of {type(self).__name__} is a schedule: pass `step=`."
            )
        return schedule(step)

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        kwargs = kontext.resolve_from_keyed_obj(context, self)
        if not callable(self.weight):
            kwargs.pop("step", None)
        return kwargs

    # The same keys are read, in another way.
    context_keys = metrics.Metric.context_keys
    check_keys = metrics.Metric.check_keys


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(arguments.NamesArguments):
    """A weight that applies from one step to another, and is 0 outside.

    Attributes:
      weight: The factor inside, or a schedule of the steps since `start_step`.
      start_step: First step of the window.
      stop_step: First step after the window; `None` for no end.

    Raises:
      ValueError: If the window is empty.

    Example:

    ```python
    warmup = optax.linear_schedule(0.0, 1.0, transition_steps=100)
    kd.losses.L1(
        preds="preds.image",
        targets="batch.image",
        weight=kd.losses.Window(weight=warmup, start_step=500),
    )
    ```
    """

    weight: float | Callable[[Any], Any] = 1.0
    start_step: int = 0
    stop_step: int | None = None

    def __post_init__(self) -> None:
        if self.stop_step is not None and self.stop_step <= self.start_step:
            raise ValueError(
                "`stop_step` must come after `start_step`: got "
                f"start_step={self.start_step}, stop_step={self.stop_step}."
            )

    @typechecked
    def __call__(self, step: Scalar) -> Float[""]:
        since = jnp.maximum(jnp.asarray(step) - self.start_step, 0)
        weight = self.weight(since) if callable(self.weight) else self.weight
        is_inside = step >= jnp.asarray(self.start_step)
        if self.stop_step is not None:
            is_inside &= step < jnp.asarray(self.stop_step)
        return jnp.where(is_inside, weight, 0.0)


@typechecked
def compute_losses(
    losses: PyTree[Loss], context: kontext.Context
) -> tuple[Float[""], PyTree[base_state.State]]:
    """Computes a tree of losses.

    Args:
      losses: A tree (dicts, lists) of `Loss`; may be empty.
      context: What their keys point into.

    Returns:
      The sum of the weighted losses (`Float32[""]`, 0 without losses), and the tree of
      states.
    """
    get_state = operator.methodcaller("get_state_from_context", context)
    with jax.named_scope("losses"):  # as profiles call them
        states = jax.tree.map(get_state, losses)
        return total_of(states), states


@typechecked
def total_of(states: PyTree[base_state.State]) -> Float[""]:
    """Returns the sum of the means of a tree of loss states (`Float32[""]`, 0 without
    any)."""
    leaves = jax.tree.leaves(states, is_leaf=base_state.State.isinstance)
    return sum((s.mean() for s in leaves), start=jnp.zeros(()))
