"""The contract of models."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kauldron import modules
from kauldron.data import utils as data_utils
from kauldron.testing._requirements import (
    COMPILED_ANEW,
    require,
    require_same_bits,
)


def check_model(
    model: nn.Module,
    batch: Any,
    *,
    rtol: float = 1e-5,
    bf16_rtol: float | None = 0.1,
) -> None:
    """Checks that a model keeps its contract.

    It proves, for the batch that is given:

    - Its keys name what it is called with; it can be initialised on shapes alone.
    - Initialised twice with a key, it has the same parameters bit for bit.
    - In evaluation it is a function: applied twice it returns the same bits, finite ones.
    - The prediction for an example does not depend on the rest of its batch, in
      evaluation (to `rtol`); what it returns has the batch as first axis.
    - A second batch of the same shapes compiles nothing.
    - Gradients with respect to all parameters are finite.
    - With parameters and inputs in bfloat16, as `precision="bf16"` runs it, predictions are
      finite, and near those of float32 (to `bf16_rtol` of the largest).

    Args:
      model: With `kontext.Key` fields that begin with `batch`, or without any.
      batch: Tree of arrays with two examples or more.
      rtol: How far predictions may be from each other, relatively.
      bf16_rtol: How far those in bfloat16; `None` for a model that is never run in it.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import numpy as np
    from flax import linen as nn
    from kauldron import kd


    class Mlp(nn.Module):
        x: kd.kontext.Key

        @nn.compact
        def __call__(self, x):
            return {"logits": nn.Dense(10)(x.reshape(len(x), -1))}


    def test_my_model_keeps_its_contract():
        images = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
        kd.testing.check_model(Mlp(x="batch.image"), {"image": images})


    test_my_model_keeps_its_contract()
    ```
    """
    batch = data_utils.for_devices(batch)
    args, kwargs = data_utils.get_model_inputs_from_batch(model, batch)
    rngs = {name: jax.random.key(0) for name in ("params", "dropout", "default")}
    with modules.set_train_property(False):
        shapes = modules.eval_shape(lambda: model.init(rngs, *args, **kwargs))
        variables = model.init(rngs, *args, **kwargs)
        again = model.init(rngs, *args, **kwargs)
    require(
        jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
        == jax.tree.map(lambda x: (x.shape, x.dtype), variables),
        "Initialised on shapes alone, its variables are others. Shapes and dtypes of "
        "parameters must not depend on values.",
    )
    require_same_bits(
        again,
        variables,
        "Initialised twice, its variables are others. Draw with `self.make_rng(...)` and "
        "initializers, never with NumPy or `random`.",
    )
    traces = []

    @jax.jit
    def run(variables: Any, batch: Any) -> Any:
        traces.append(1)
        args, kwargs = data_utils.get_model_inputs_from_batch(model, batch)
        with modules.set_train_property(False):
            return model.apply(variables, *args, rngs=rngs, **kwargs)

    preds = run(variables, batch)
    require_same_bits(
        run(variables, batch),
        preds,
        "Applied twice, it returns others. In evaluation nothing is random, and no module "
        "may keep anything outside of its variables.",
    )
    require(len(traces) == 1, COMPILED_ANEW)
    num = jax.tree.leaves(batch)[0].shape[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(preds):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "."
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            require(
                bool(jnp.isfinite(leaf).all()),
                f"preds.{name} is not finite. `kd.inspect.look_at_step(trainer)` shows the "
                "first module whose output is not.",
            )
        require(
            leaf.ndim >= 1 and leaf.shape[0] == num,
            f"The first axis of preds.{name} is not the batch: {list(leaf.shape)}. Metrics "
            "and losses take the means; a model returns a row for each example.",
        )
    _check_alone(run, variables, batch, preds, rtol)
    _check_gradients(run, variables, batch)
    if bf16_rtol is not None:
        _check_bf16(run, variables, batch, preds, bf16_rtol)


def _check_alone(run: Any, variables: Any, batch: Any, preds: Any, rtol: float) -> None:
    flipped = run(variables, jax.tree.map(lambda x: x[::-1], batch))
    for found, expected in zip(
        jax.tree.leaves(flipped), jax.tree.leaves(preds), strict=True
    ):
        a, b = np.asarray(found[::-1], np.float64), np.asarray(expected, np.float64)
        scale = float(np.abs(b).max(initial=0.0))
        require(
            np.allclose(a, b, rtol=rtol, atol=rtol * scale),
            "The prediction for an example depends on its place in the batch. Nothing may "
            "be computed over the batch axis, but by `kd.nn.BatchNorm`, and there not in "
            "evaluation.",
        )


def _check_gradients(run: Any, variables: Any, batch: Any) -> None:
    params = variables.get("params", {})
    if not jax.tree.leaves(params):
        return

    def total(params: Any) -> jax.Array:
        preds = run({**variables, "params": params}, batch)
        floats = [
            x for x in jax.tree.leaves(preds) if jnp.issubdtype(x.dtype, jnp.inexact)
        ]
        return sum((jnp.sum(x.astype(jnp.float32) ** 2) for x in floats), jnp.zeros(()))

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(total)(params)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        require(
            bool(jnp.isfinite(grad).all()),
            f"The gradient of params.{name} is not finite. Look for roots, norms and "
            "logarithms at 0, of which a `jnp.where` does not keep the gradient.",
        )


def _check_bf16(run: Any, variables: Any, batch: Any, preds: Any, rtol: float) -> None:
    half = jax.tree.map(_to_bf16, (variables, batch))
    for (path, found), expected in zip(
        jax.tree_util.tree_leaves_with_path(run(*half)),
        jax.tree.leaves(preds),
        strict=True,
    ):
        if not jnp.issubdtype(found.dtype, jnp.inexact):
            continue  # a class may be another one
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "."
        a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        require(
            bool(np.isfinite(a).all()),
            f"In bfloat16, preds.{name} is not finite. Masks of `-1e9` and sums of many "
            "values need float32: `x.astype(jnp.float32)`.",
        )
        off = float(np.abs(a - b).max(initial=0.0))
        largest = float(np.abs(b).max(initial=0.0))
        require(
            off <= rtol * largest,
            f"In bfloat16, preds.{name} is {off:.3g} off, of {largest:.3g} at most. "
            "Compute norms, softmax and means in float32; `bf16_rtol` says how far it may "
            "be, and `bf16_rtol=None` that it is not run in bfloat16.",
        )


def _to_bf16(x: jax.Array) -> jax.Array:
    return x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x
