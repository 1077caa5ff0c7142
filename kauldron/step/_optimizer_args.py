"""Extra arguments of optimizer updates, besides gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kauldron.ktyping import Float, PyTree


def extra_args(
    value: Float[""] | None, grads: PyTree, value_fn: Callable[[Any], Any]
) -> dict[str, Any]:
    """Returns what some optimizers want besides gradients, by the names they give it.

    Args:
      value: The loss, `Float32[""]`; `None` if the step has computed none.
      grads: The gradients.
      value_fn: From parameters to the loss; costs nothing unless it is called.
    """

    # Optax's line searches pass the function every argument they don't know.
    def searched_fn(params: PyTree, *, obj_fn: Any = None) -> Any:
        del obj_fn
        return value_fn(params)

    known = {} if value is None else {"value": value}
    return {**known, "grad": grads, "value_fn": searched_fn, "obj_fn": value_fn}
