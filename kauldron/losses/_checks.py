"""Input checks and casts shared by all losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kauldron import metrics
from kauldron.ktyping import Array, Float
from kauldron.metrics import class_ids, predicted_classes


def check_int_labels(
    loss: predicted_classes.OfClasses, *, logits: Array, labels: Array
) -> None:
    """Raises unless logits are `Float["*a classes"]` and labels `IntOrBool["*a 1"]`.

    There are at least two classes: of one, whatever a model says is right.

    Raises:
      ValueError: If they are not.
    """
    name = type(loss).__name__
    expected = (*logits.shape[:-1], 1)
    if labels.shape != expected:
        raise ValueError(
            f"{name} needs logits `f[*a classes]` and labels `i[*a 1]`: got logits "
            f"{logits.shape} (key {loss.logits!r}) and labels {labels.shape} (key "
            f"{loss.labels!r})."
            + class_ids.last_axis_hint(labels.shape, expected, loss.labels)
        )
    if not is_integer(labels):
        raise ValueError(
            f"{name} needs integer labels: key {loss.labels!r} is {labels.dtype}."
            + class_ids.integers_hint(loss.labels)
        )
    if logits.shape[-1] == 1:
        raise ValueError(
            f"{name} chooses between classes, and there is one: key {loss.logits!r} is "
            f"{logits.shape}. The background is a class, too (`num_classes=2`), or take "
            "`SigmoidBinaryCrossEntropy`, for which one score is enough."
        )


def is_integer(x: Array) -> bool:
    """Whether an array is of integers or bool."""
    return x.dtype == bool or jnp.issubdtype(x.dtype, jnp.integer)


def check_range(
    loss: metrics.Metric,
    field: str,
    *,
    low: float,
    high: float = float("inf"),
    is_open: bool = False,
) -> None:
    """Raises unless a field lies in `[low, high]`; `is_open` leaves out `low`.

    Raises:
      ValueError: If it does not.
    """
    value = getattr(loss, field)
    if (low < value if is_open else low <= value) and value <= high:
        return
    bounds = f"{'>' if is_open else '>='} {low}"
    if high != float("inf"):
        bounds += f" and <= {high}"
    raise ValueError(
        f"`{field}` of {type(loss).__name__} must be {bounds}: got {value!r}."
    )


def safe_norm(x: Float["*a n"]) -> Float["*a 1"]:
    """Returns the Euclidean norm along the last axis, `Array["*a 1"]`; its gradient at
    0 is 0."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squares)))


def weigh(weights: Array | float, logs: jax.Array) -> jax.Array:
    """Returns `weights * logs` of logarithms, in which 0 times -inf (or inf) is 0."""
    is_nothing = (weights == 0) & jnp.isinf(logs)
    return weights * jnp.where(is_nothing, 0, logs)
