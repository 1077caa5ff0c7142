"""The contracts of metrics and losses: states that merge, under jit, with masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics
from kauldron.testing._requirements import require


def check_metric(metric: metrics.Metric, *, rtol: float = 1e-5, **arrays: Any) -> None:
    """Checks that a metric keeps its contract.

    It proves, on the examples that are given:

    - Every key of the metric names an argument of `get_state`, and is given here.
    - The state of all examples is that of two parts, merged: the metric of a dataset does
      not depend on its batch size. Merged with an empty state it stays as it is.
    - Under jit the value is the same, and a second batch of the same shapes compiles
      nothing.
    - States are trees of arrays, of one structure for any number of examples.

    Args:
      metric: The metric.
      rtol: How far values may be from each other, relatively.
      **arrays: What its keys would name, by field; the first axis is that of examples, of
        which there are at least two.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    def test_my_metric_keeps_its_contract():
        rng = np.random.default_rng(0)
        kd.testing.check_metric(
            MyAccuracy(logits="preds.logits", labels="batch.label"),
            logits=rng.normal(size=(8, 10)),
            labels=rng.integers(10, size=(8, 1)),
        )
    ```
    """
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    keys = {k: v for k, v in kontext.get_keypaths(metric).items() if v is not None}
    missing = sorted(set(keys) - set(arrays) - {"step"})
    require(
        not missing,
        f"{type(metric).__name__} has the keys {sorted(keys)}: give {missing} as well.",
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
    states = [metric.get_state(**part) for part in parts]
    merged = states[0].merge(states[1])
    _require_close(
        merged.compute(), value, rtol, "Two parts, merged, differ from the whole."
    )
    _require_close(
        metric.empty().merge(whole).compute(), value, rtol, "An empty state changes it."
    )
    require(
        jax.tree.structure(states[0]) == jax.tree.structure(whole),
        "The structure of a state depends on the number of examples.",
    )
    traces = []

    @jax.jit
    def run(arrays: Any) -> Any:
        traces.append(1)
        return metric.get_state(**arrays)

    on_device = jax.tree.map(jnp.asarray, arrays)
    _require_close(
        run(on_device).compute(), value, rtol, "Under jit the value differs."
    )
    run(jax.tree.map(lambda x: x[::-1], on_device))
    require(len(traces) == 1, "A second batch of the same shapes is compiled anew.")


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
    require(floats, "No array is float: there is nothing to train.")

    def value_of(loss: losses.Loss, changed: Any, **more: Any) -> jax.Array:
        state = loss.get_state(**{**given, **changed, **more})
        return state.total / state.count

    trained = {name: given[name].astype(jnp.float32) for name in floats}
    value, grads = jax.value_and_grad(lambda x: value_of(loss, x))(trained)
    require(value.shape == (), f"A loss is one number: got the shape {value.shape}.")
    require(bool(jnp.isfinite(value)), f"The loss is not finite: {value}.")
    for name, grad in grads.items():
        require(
            bool(jnp.isfinite(grad).all()), f"The gradient of {name!r} is not finite."
        )
    require(
        any(bool((grad != 0).any()) for grad in grads.values()),
        f"The gradients of {floats} are all zero.",
    )
    half = {name: x.astype(jnp.bfloat16) for name, x in trained.items()}
    rounded = {name: x.astype(jnp.float32) for name, x in half.items()}
    _require_close(
        np.float32(value_of(loss, half)),
        np.asarray(value_of(loss, rounded)),
        0.03,
        "In bfloat16 the loss differs from that of the same numbers in float32.",
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
        "With a mask of ones the loss is another.",
    )
    first_out = ones.at[0].set(0.0)
    changed = {name: x.at[0].add(1.0) for name, x in trained.items()}
    without = value_of(masked, trained, mask=first_out)
    _require_close(
        np.asarray(value_of(masked, changed, mask=first_out)),
        np.asarray(without),
        rtol,
        "An example that is masked out changes the loss.",
    )
    grads = jax.grad(lambda x: value_of(masked, x, mask=first_out))(trained)
    for name, grad in grads.items():
        require(
            bool((grad[0] == 0).all()),
            f"An example that is masked out has a gradient, in {name!r}.",
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
