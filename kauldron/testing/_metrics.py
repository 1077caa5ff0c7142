"""The contracts of metrics and losses: states that merge, under jit, with masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics
from kauldron.testing._requirements import COMPILED_ANEW, require

_OF_INFINITIES = (
    "Keep logarithms, roots and divisions away from 0: `jnp.maximum(x, 1e-6)` before them, "
    "or work on logits, as `jax.nn.log_softmax` does."
)


def check_metric(metric: metrics.Metric, *, rtol: float = 1e-5, **arrays: Any) -> None:
    """Checks that a metric keeps its contract.

    It proves, on the examples that are given:

    - Every key of the metric names an argument of `get_state`, and is given here.
    - The state of all examples is that of two parts, merged: the metric of a dataset does
      not depend on its batch size. Merged with an empty state it stays as it is.
    - Under jit the value is the same, and a second batch of the same shapes compiles
      nothing.
    - States are trees of arrays, of one structure for any number of examples.
    - With a mask of ones it is what it is without; what is masked out has no influence.
      If the metric has a field `mask` that is not set, and shapes allow one per example.

    Args:
      metric: The metric.
      rtol: How far values may be from each other, relatively.
      **arrays: What its keys would name, by field; the first axis is that of examples, of
        which there are at least two.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import numpy as np
    from kauldron import kd


    def test_my_metric_keeps_its_contract():
        rng = np.random.default_rng(0)
        kd.testing.check_metric(
            kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
            logits=rng.normal(size=(8, 10)),
            labels=rng.integers(10, size=(8, 1)),
        )


    test_my_metric_keeps_its_contract()
    ```
    """
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    keys = {k: v for k, v in kontext.get_keypaths(metric).items() if v is not None}
    missing = sorted(set(keys) - set(arrays) - {"step"})
    require(
        not missing,
        f"{type(metric).__name__} has the keys {sorted(keys)}: give {missing} as well, "
        f"as `check_{'loss' if isinstance(metric, losses.Loss) else 'metric'}(..., "
        f"{missing[0] if missing else ''}=array)`.",
    )
    sizes = {name: value.shape[:1] for name, value in arrays.items() if value.ndim}
    num = min((size[0] for size in sizes.values()), default=0)
    require(
        num >= 2 and len(set(sizes.values())) == 1,
        f"The first axis of every array must be of the same two or more examples: {sizes}.",
    )
    whole = metric.get_state(**arrays)
    value = whole.compute()
    parts = [_of(arrays, slice(0, num // 2)), _of(arrays, slice(num // 2, num))]
    states: list[Any] = [metric.get_state(**part) for part in parts]
    merged = states[0].merge(states[1])
    _require_close(
        merged.compute(),
        value,
        rtol,
        "Two parts, merged, differ from the whole. Keep in the state what adds up, such as "
        "a sum and a count, and divide in `compute()`.",
    )
    _require_close(
        metric.empty().merge(whole).compute(),
        value,
        rtol,
        "An empty state changes it. `empty()` must be neutral in `merge`: zeros, of sums "
        "and counts.",
    )
    require(
        jax.tree.structure(states[0]) == jax.tree.structure(whole),
        "The structure of a state depends on the number of examples. Sum over these in "
        "`get_state`, or keep them in one array, not in a list.",
    )
    traces = []

    @jax.jit
    def run(arrays: Any) -> Any:
        traces.append(1)
        return metric.get_state(**arrays)

    on_device = jax.tree.map(jnp.asarray, arrays)
    _require_close(
        run(on_device).compute(),
        value,
        rtol,
        "Under jit the value differs. `get_state` must use `jnp`, and nothing but its "
        "arguments: no NumPy, no `if` on values, no attribute that changes.",
    )
    run(jax.tree.map(lambda x: x[::-1], on_device))
    require(len(traces) == 1, COMPILED_ANEW)
    if not isinstance(metric, losses.Loss):
        _check_mask_of_metric(metric, on_device, value, rtol)


def _check_mask_of_metric(
    metric: metrics.Metric, arrays: Any, value: Any, rtol: float
) -> None:
    fields = {f.name for f in dataclasses.fields(metric)}
    if "mask" not in fields or getattr(metric, "mask", None) is not None:
        return
    masked = dataclasses.replace(metric, mask="batch.mask")  # type: ignore[call-arg]
    num = len(next(x for x in arrays.values() if x.ndim))
    ones = jnp.ones((num, 1), jnp.float32)
    try:
        whole = masked.get_state(**arrays, mask=ones)
    except Exception:
        return  # its mask has another shape, which its own tests know
    _require_close(
        whole.compute(),
        value,
        rtol,
        "With a mask of ones the value is another. A mask says which examples count; of "
        "ones, all do.",
    )
    without = {name: x[1:] if x.ndim else x for name, x in arrays.items()}
    _require_close(
        masked.get_state(**arrays, mask=ones.at[0].set(0.0)).compute(),
        metric.get_state(**without).compute(),
        rtol,
        "An example that is masked out counts. Multiply what is summed up by the mask, and "
        "count the mask.",
    )


def check_loss(loss: losses.Loss, *, rtol: float = 1e-5, **arrays: Any) -> None:
    """Checks that a loss keeps its contract: that of a metric, and of what is trained on.

    Beyond `check_metric` it proves:

    - The loss is one finite number; so are its gradients with respect to the float arrays,
      and they are not all zero.
    - In bfloat16 it is the same to two digits.
    - With a mask of ones it is what it is without; what is masked out has no influence and
      no gradient. For losses of single elements (`compares_examples = False`).

    Args:
      loss: The loss, without a mask of its own.
      rtol: How far values may be from each other, relatively.
      **arrays: As for `check_metric`; what is trained is float.

    Raises:
      AssertionError: Says what does not hold.
    """
    check_metric(loss, rtol=rtol, **arrays)
    given = {name: jnp.asarray(value) for name, value in arrays.items()}
    floats = [k for k, v in given.items() if jnp.issubdtype(v.dtype, jnp.floating)]
    require(
        floats,
        "No array is float: there is nothing to train. Give predictions as floats.",
    )

    def value_of(loss: losses.Loss, changed: Any, **more: Any) -> jax.Array:
        state = loss.get_state(**{**given, **changed, **more})
        return state.total / state.count

    trained = {name: given[name].astype(jnp.float32) for name in floats}
    value, grads = jax.value_and_grad(lambda x: value_of(loss, x))(trained)
    require(
        value.shape == (),
        f"A loss is one number: got the shape {value.shape}. `get_values` returns a value "
        "for each element, and the base class takes their mean.",
    )
    require(
        bool(jnp.isfinite(value)),
        f"The loss is not finite: {value}. {_OF_INFINITIES}",
    )
    for name, grad in grads.items():
        require(
            bool(jnp.isfinite(grad).all()),
            f"The gradient of {name!r} is not finite. {_OF_INFINITIES} A `jnp.where` "
            "around it does not help: the gradient goes through both sides.",
        )
    require(
        any(bool((grad != 0).any()) for grad in grads.values()),
        f"The gradients of {floats} are all zero. Look for `stop_gradient`, rounding, "
        "comparisons, `argmax`: nothing is trained through them.",
    )
    half = {name: x.astype(jnp.bfloat16) for name, x in trained.items()}
    rounded = {name: x.astype(jnp.float32) for name, x in half.items()}
    _require_close(
        np.float32(value_of(loss, half)),
        np.asarray(value_of(loss, rounded)),
        0.03,
        "In bfloat16 the loss differs from that of the same numbers in float32. Begin with "
        "`x.astype(jnp.float32)`: sums, exponentials and logarithms need it.",
    )
    if not loss.compares_examples and loss.mask is None:
        _check_mask(loss, trained, value, value_of, rtol)


def _check_mask(
    loss: losses.Loss, trained: Any, value: Any, value_of: Any, rtol: float
) -> None:
    masked = dataclasses.replace(loss, mask="batch.mask")
    num = len(next(iter(trained.values())))
    ones = jnp.ones((num, 1), jnp.float32)
    _require_close(
        np.asarray(value_of(masked, trained, mask=ones)),
        np.asarray(value),
        rtol,
        "With a mask of ones the loss is another. Leave the mask to the base class: "
        "`get_values` returns a value for each element.",
    )
    first_out = ones.at[0].set(0.0)
    changed = {name: x.at[0].add(1.0) for name, x in trained.items()}
    without = value_of(masked, trained, mask=first_out)
    _require_close(
        np.asarray(value_of(masked, changed, mask=first_out)),
        np.asarray(without),
        rtol,
        "An example that is masked out changes the loss. `get_values` must not mix the "
        "examples of a batch; of a loss that does, `compares_examples = True`.",
    )
    grads = jax.grad(lambda x: value_of(masked, x, mask=first_out))(trained)
    for name, grad in grads.items():
        require(
            bool((grad[0] == 0).all()),
            f"An example that is masked out has a gradient, in {name!r}. `get_values` must "
            "not mix the examples of a batch.",
        )


def _of(arrays: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    return {name: x[part] if x.ndim else x for name, x in arrays.items()}


def _require_close(found: Any, expected: Any, rtol: float, message: str) -> None:
    a, b = jax.tree.leaves(found), jax.tree.leaves(expected)
    require(
        jax.tree.structure(found) == jax.tree.structure(expected),
        f"{message} Structure: {jax.tree.structure(found)}, expected "
        f"{jax.tree.structure(expected)}.",
    )
    for x, y in zip(a, b, strict=True):
        if np.asarray(x).dtype.kind in "USO":
            require(np.array_equal(x, y), f"{message} Got {x}, expected {y}.")
            continue
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        scale = float(np.nanmax(np.abs(y), initial=0.0))
        require(
            np.allclose(x, y, rtol=rtol, atol=rtol * scale, equal_nan=True),
            f"{message} Got {x}, expected {y}.",
        )
