"""`Loss` and the sum of a tree of losses."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import kontext, metrics
from kauldron.metrics import base_state
from kauldron.utils import immutabledict

# Registered before the first tree of losses is traced.
immutabledict.register_pytree()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(metrics.Metric):
    """Base of losses: a subclass gives one value per element, the mean is taken here.

    The loss is `weight * sum(values * mask) / sum(mask)`, the mask broadcast to the
    values; without a mask, `weight` times the mean of all values.

    Attributes:
      step: Key to the step, for a `weight` that is a schedule.
      mask: Key to weights of the values; an axis may be 1 or missing at the end.
      weight: A factor, or a schedule from step to factor.
      normalize_by: `'mask'` divides by the sum of the mask, `'values'` by the number of
        values, masked or not.
    """

    step: kontext.Key = "step"
    mask: kontext.Key | None = None
    weight: Any = 1.0  # float | optax.Schedule
    normalize_by: Literal["mask", "values"] = "mask"

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def __post_init__(self) -> None:
        if self.normalize_by not in ("mask", "values"):
            raise ValueError(
                f"`normalize_by` must be 'mask' or 'values': got {self.normalize_by!r}."
            )

    def get_values(self, **kwargs: Any) -> jax.Array:
        """Returns the loss of each element, unreduced, batch axes kept."""
        raise NotImplementedError(f"{type(self).__qualname__} must define get_values.")

    def get_state(
        self, *args: Any, mask: Any = None, step: Any = None, **kwargs: Any
    ) -> State:
        values = self.get_values(*args, **kwargs)
        state = self.State.from_values(values, mask=mask)
        if self.normalize_by == "values":
            state = state.replace(count=jnp.float32(jnp.size(values)))
        return state.replace(total=state.total * self.get_weight(step))

    def get_weight(self, step: Any = None) -> Any:
        """Returns the weight at a step.

        Raises:
          ValueError: If the weight is a schedule and there is no step.
        """
        if not callable(self.weight):
            return self.weight
        if step is None:
            raise ValueError(
                f"The weight of {type(self).__name__} is a schedule: pass `step=`."
            )
        return self.weight(step)

    def _resolve_kwargs(self, context: Any) -> dict[str, Any]:
        kwargs = kontext.resolve_from_keyed_obj(context, self)
        if not callable(self.weight):
            kwargs.pop("step", None)
        return kwargs


def compute_losses(losses: Any, context: Any) -> tuple[jax.Array, Any]:
    """Computes a tree of losses.

    Args:
      losses: A tree (dicts, lists) of `Loss`; may be empty.
      context: What their keys point into.

    Returns:
      The sum of the weighted losses (`f32[]`, 0 without losses), and the tree of states.
    """
    states = jax.tree.map(
        lambda loss: loss.get_state_from_context(context),
        losses,
        is_leaf=lambda x: isinstance(x, Loss),
    )
    leaves = jax.tree.leaves(states, is_leaf=base_state.State.isinstance)
    return sum((s.mean() for s in leaves), start=jnp.zeros(())), states
