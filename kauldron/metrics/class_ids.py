"""Class id conventions, the same in every loss and metric.

1. Ids are `i32` before anything is computed with them, whatever integers they come as:
   arithmetic of `u8` wraps at 256. Those beyond `i32` become its largest or smallest
   value, so none wraps around into the range of the classes.
2. A label that is masked out (`mask == 0`), or equal to `ignored_label`, does not count,
   whatever it holds.
3. Any other label outside of `[0, num_classes)` is an error. Traced code cannot raise: the
   state carries a record of a few integers, and `compute` raises on the host. So labels
   are checked whenever a value is computed, and nothing waits for the check before.

```python
checked = check_labels(labels, num_classes=10, mask=mask)
values = logits.argmax(axis=-1, keepdims=True) == checked.ids
state = self.State.from_values(values, mask=checked.mask)
return state.replace(bad_labels=checked.bad_labels)
```
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import flax.struct
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from kauldron import sharding
from kauldron._base import errors
from kauldron.ktyping import Array, Bool, DType, Int32
from kauldron.metrics import arrays, base_state, shared_parts

_INT32 = np.iinfo(np.int32)
_UNKNOWN = object()


class LabelError(errors.UserError, ValueError):
    """A label is not one of the classes."""


@flax.struct.dataclass
class BadLabels:
    """The labels seen that are not classes, part of a state (`State.bad_labels`).

    Attributes:
      records: Field of the metric -> `Int32["4"]`: number of such labels, the lowest,
        the highest, number of classes (0: no upper limit). All zeros if there was none.
    """

    records: Mapping[str, Int32["*b 4"]] = flax.struct.field(default_factory=dict)

    @classmethod
    def empty(cls) -> Self:
        """Returns the record of no label."""
        return cls()

    def merge(self, other: BadLabels) -> BadLabels:
        """Returns the record of both; works inside jit."""
        merged = dict(self.records)
        for field, record in other.records.items():
            merged[field] = _merge(merged[field], record) if field in merged else record
        return BadLabels(records=merged)

    def raise_if_any(self, owner: object = None) -> None:
        """Raises if there was such a label. Runs on the host.

        Records may have leading axes, of single examples for instance.

        Args:
          owner: The loss or metric, whose name and keys the message says.

        Raises:
          LabelError: A `ValueError`: names the labels, the range, and the key.
        """
        problems = []
        for field, record in self.records.items():
            rows = np.asarray(sharding.to_host(record)).reshape(-1, 4)
            if rows[:, 0].any():
                rows = rows[rows[:, 0] > 0]
                count, num_classes = rows[:, 0].sum(), rows[0, 3]
                seen = (int(rows[:, 1].min()), int(rows[:, 2].max()))
                problems.append(
                    _describe(owner, field, int(count), seen, int(num_classes))
                )
        if problems:
            raise LabelError("\n".join(problems))


class CheckedLabels(NamedTuple):
    """Labels that can be computed with.

    Attributes:
      ids: `i32`, of the shape of the labels; 0 in the place of what is not a class.
      mask: Weights of the same shape, 0 for what does not count: what is masked out,
        ignored, or no class. `bool` if there was no mask, or one of bool; `i32` if that was
        of integers, else `f32` (`f64`).
      is_class: Where a label is one of the classes, counted or not, `bool`.
      is_bad: Where a label is an error, `bool` of the same shape.
      bad_labels: The record of these, for the state.
    """

    ids: Int32["*a"]
    mask: Array["*a"]
    is_class: Bool["*a"]
    is_bad: Bool["*a"]
    bad_labels: BadLabels


def check_labels(
    labels: Array,
    *,
    num_classes: int | None,
    mask: Array | float | None = None,
    ignored_label: int | tuple[int, ...] | None = None,
    owner: object = None,
    field: str = "labels",
) -> CheckedLabels:
    """Returns labels to compute with, and a record of those that are not classes.

    Args:
      labels: Class ids, `Int["*a"]` of any integer dtype, or bool.
      num_classes: Number of classes; `None` if it is not known: any id >= 0 is one.
      mask: Weights that fit the labels, as `AverageState.from_values` takes them.
      ignored_label: Label (or labels) that doesn't count.
      owner: The loss or metric, for the message.
      field: Its field with the key of the labels.

    Raises:
      ValueError: If the labels are not integers, or the mask doesn't fit.
    """
    _check_are_ids(labels, owner, field)
    if isinstance(ignored_label, list | np.ndarray):
        ignored_label = tuple(ignored_label)
    return _check(
        labels,
        mask,
        num_classes=num_classes,
        ignored_label=ignored_label,
        field=field,
    )


@shared_parts.shared
def _check(
    labels: Array,
    mask: Array | float | None,
    *,
    num_classes: int | None,
    ignored_label: int | tuple[int, ...] | None,
    field: str,
) -> CheckedLabels:
    ids = to_ids(labels)
    is_class = ids >= 0
    if num_classes is not None:
        is_class &= ids < num_classes
    is_bad, is_valid, weights = ~is_class, is_class, None
    if ignored_label is not None:
        is_counted = ~is_ignored(ids, ignored_label)
        is_bad, is_valid = is_bad & is_counted, is_valid & is_counted
    if mask is not None:
        weights = base_state.broadcast_mask(mask, ids.shape)
        is_counted = weights.astype(bool)
        is_bad, is_valid = is_bad & is_counted, is_valid & is_counted
    if weights is not None and weights.dtype != bool:
        weights = jnp.where(is_valid, weights.astype(_weight_dtype(weights.dtype)), 0)
    else:
        weights = is_valid
    return CheckedLabels(
        ids=jnp.where(is_class, ids, 0),
        mask=weights,
        is_class=is_class,
        is_bad=is_bad,
        bad_labels=BadLabels(records={field: _record(ids, is_bad, num_classes)}),
    )


def to_ids(labels: Array, *, owner: object = None, field: str = "labels") -> Int32:
    """Returns ids as `i32`; what is beyond becomes the largest or smallest `i32`.

    Raises:
      ValueError: If they are neither integers nor bool.
    """
    if not isinstance(labels, jax.Array):
        labels = np.asarray(labels)  # not `jnp`, where i64 would lose its upper half
    _check_are_ids(labels, owner, field)
    if labels.dtype == bool:
        return jnp.asarray(labels).astype(jnp.int32)
    if np.iinfo(labels.dtype).max > _INT32.max:
        lowest = max(np.iinfo(labels.dtype).min, _INT32.min)
        labels = labels.clip(*np.array([lowest, _INT32.max], labels.dtype))
    return jnp.asarray(labels.astype(np.int32))


def _check_are_ids(labels: Array, owner: object, field: str) -> None:
    """Raises unless labels are integers or bool."""
    dtype = labels.dtype if isinstance(labels, jax.Array) else np.asarray(labels).dtype
    if dtype == np.bool_ or jnp.issubdtype(dtype, jnp.integer):
        return
    name = "" if owner is None else f"{type(owner).__name__} needs integer labels: "
    raise ValueError(
        f"{name}{_field_and_key(owner, field)} must be integers: got {dtype}."
        + integers_hint(getattr(owner, field, None))
    )


def is_ignored(ids: Int32, ignored_label: int | Sequence[int] | None) -> Bool:
    """Returns where ids `i32` are an ignored label, a number or several."""
    ignored = () if ignored_label is None else np.atleast_1d(ignored_label)
    is_ignored = jnp.zeros(ids.shape, bool)
    for label in ignored:
        is_ignored |= ids == np.int32(np.clip(label, _INT32.min, _INT32.max))
    return is_ignored


def _weight_dtype(dtype: DType) -> Any:
    if jnp.issubdtype(dtype, jnp.floating):
        return arrays.wide_dtype(dtype)
    return jnp.int32


@functools.partial(jax.jit, static_argnames="num_classes", inline=True)
def _record(
    ids: Int32["*a"], is_bad: Bool["*a"], num_classes: int | None
) -> Int32["4"]:
    if not ids.size:
        return jnp.zeros(4, jnp.int32)
    # Three reductions in one: XLA compiles that in a third of the time, and it reads large
    # labels once.
    count, lowest, highest = jax.lax.reduce(
        (
            is_bad.astype(jnp.int32),
            jnp.where(is_bad, ids, _INT32.max),
            jnp.where(is_bad, ids, _INT32.min),
        ),
        (np.int32(0), np.int32(_INT32.max), np.int32(_INT32.min)),
        _both_ranges,  # one function: programs with it are known to be the same
        tuple(range(ids.ndim)),
    )
    seen = jnp.stack([count, lowest, highest, jnp.int32(num_classes or 0)])
    return jnp.where(count > 0, seen, 0)


def _both_ranges(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Returns number, lowest and highest of two parts."""
    return a[0] + b[0], jnp.minimum(a[1], b[1]), jnp.maximum(a[2], b[2])


def _merge(a: Array["*b 4"], b: Array["*b 4"]) -> Any:
    is_traced = isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer)
    xp = jnp if is_traced else np
    if not is_traced:
        a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    columns = (xp.add, xp.minimum, xp.maximum, xp.maximum)
    both = [func(a[..., i], b[..., i]) for i, func in enumerate(columns)]
    has_a, has_b = a[..., :1] > 0, b[..., :1] > 0
    both = xp.stack(both, axis=-1)
    return xp.where(has_a & has_b, both, xp.where(has_a, a, b))


def _describe(
    owner: object, field: str, count: int, seen: tuple[int, int], num_classes: int
) -> str:
    """Returns the message about one field."""
    name = "" if owner is None else f"{type(owner).__name__}: "
    of_key = _field_and_key(owner, field)
    number = "1 label" if count == 1 else f"{count} labels"
    lowest, highest = seen
    got = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
    classes = f"in [0, {num_classes})" if num_classes else ">= 0"
    problem = f"{name}{number} of {of_key} must be {classes}: got {got}."
    if field != "labels":
        return f"{problem} Correct them, or mask them out."
    ignored_label = getattr(owner, "ignored_label", _UNKNOWN)
    if ignored_label is _UNKNOWN:
        return f"{problem} Correct them, or mask out what has no class."
    label = lowest if lowest < 0 else highest
    now = "" if ignored_label is None else f" (not {ignored_label})"
    return (
        f"{problem} Correct them, or leave out what has no class by "
        f"`ignored_label={label}`{now} or a mask."
    )


def _field_and_key(owner: object, field: str) -> str:
    key = getattr(owner, field, None)
    return f"`{field}`" if key is None else f"`{field}` (key {str(key)!r})"


def integers_hint(key: object) -> str:
    """Returns what to do about labels that are not integers."""
    if key is None:
        return ""
    name = str(key).rpartition(".")[2]
    return f" Convert them with `kd.data.Cast(key={name!r}, dtype='int32')`."


def last_axis_hint(
    shape: tuple[int, ...], expected: tuple[int, ...], key: object
) -> str:
    """Returns what to do about labels whose last axis of 1 is missing, else `""`."""
    if (*shape, 1) != tuple(expected):
        return ""
    name = str(key).rpartition(".")[2]
    return (
        " Add the last axis with "
        f"`kd.data.Rearrange(key={name!r}, pattern='... -> ... 1')`."
    )
