"""Non-finite values: whether a step produced any, and where the first one was."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Bool, Float, PyTree, typechecked
from kauldron.sharding import TrainState
from kauldron.step import _loss_scale, intermediates
from kauldron.step.context import Context

# The order in which a step makes its values. Collections are those after the forward
# pass.
_GROUPS = (
    *("batch", "params", "opt_state", "interms", "preds", "collections"),
    *("loss_states", "loss_total", "grads", "updates"),
)


@typechecked
def is_finite_step(context: Context, next_state: TrainState) -> Bool[""]:
    """Returns whether a step was finite, `Bool[""]`, inside jit.

    It looks at the total loss and at the gradients; a step of the user's own that does
    not give the gradients is judged by the new parameters. An update that a loss scale
    has skipped, as its gradients overflowed, is judged by the loss alone.
    """
    values = context.grads if context.grads is not None else next_state.params
    is_fine = all_finite(values)
    is_overflow = _loss_scale.is_overflow(context.opt_state, next_state.opt_state)
    if is_overflow is not None:
        is_fine |= is_overflow
    return is_fine & all_finite(context.loss_total)


@typechecked
def all_finite(tree: PyTree) -> Bool[""]:
    """Returns whether all floating-point values of a pytree are finite, `Bool[""]`."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.equal(sum(map(_zero_if_finite, leaves), jnp.zeros(())), 0)


def _zero_if_finite(x: Array["*a"]) -> Float[""]:
    """Returns 0 for an array without NaN and infinities, otherwise NaN.

    A product of matrices reads a large array about three times as fast as XLA's own
    reductions do on CPU. The factor keeps sums of huge values from overflowing.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if x.ndim > 1:
        factors = jnp.full(x.shape[:-1], 2.0**-64, x.dtype)
        x = jnp.tensordot(factors, x, x.ndim - 1, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(x * 0)


def nonfinite_paths(tree: PyTree) -> list[str]:
    """Returns the paths of arrays that hold NaN or infinities, looked at on the host.

    Arrays are fetched one at a time, by each process its own part: for the end of a
    run, where compiling would take longer.
    """
    leaves = kontext.flatten_with_path(tree)
    return [path for path, x in leaves.items() if not _is_finite_on_host(x)]


def _is_finite_on_host(x: Array) -> bool:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return True
    if not isinstance(x, jax.Array):
        return bool(np.isfinite(x).all())
    parts = {str(shard.index): shard.data for shard in x.addressable_shards}
    return all(np.isfinite(np.asarray(part)).all() for part in parts.values())


@dataclasses.dataclass(frozen=True)
class Nonfinite:
    """A tensor that holds values that are not finite.

    Attributes:
      key: Its path in the context, such as `grads.encoder.kernel`.
      num_nan: How many values are NaN.
      num_inf: How many are infinite.
      spec: Dtype and shape, as `Float32["3 4"]`.
    """

    key: str
    num_nan: int
    num_inf: int
    spec: str

    def __str__(self) -> str:
        counts = [f"{self.num_nan} NaN"] * bool(self.num_nan)
        counts += [f"{self.num_inf} infinite"] * bool(self.num_inf)
        return f"{self.key} {self.spec}: {', '.join(counts)}"


class Finder:
    """Repeats steps with all their intermediate values, and looks at each.

    Args:
      step: `TrainStep._step`, or what overrides it.
    """

    def __init__(self, step: Callable[[TrainState, Any], tuple[Any, Context]]) -> None:
        self._step = step
        self._specs: dict[str, str] = {}

    def find(self, state: TrainState, batch: PyTree) -> list[Nonfinite]:
        """Returns tensors with values that are not finite, in the order they are made.

        Args:
          state: The state before the step; it is not used up.
          batch: The batch on devices.
        """
        counts = jax.device_get(self._count(state, batch))
        return [
            Nonfinite(key, int(num_nan), int(num_inf), spec)
            for (key, spec), (num_nan, num_inf) in zip(
                self._specs.items(), counts, strict=True
            )
            if num_nan or num_inf
        ]

    @functools.cached_property
    def _count(self) -> Callable[..., list[tuple[jax.Array, jax.Array]]]:
        @jax.jit
        def count(
            state: TrainState, batch: PyTree
        ) -> list[tuple[jax.Array, jax.Array]]:
            with intermediates.capture_all() as modules:
                _, context = self._step(state, batch)
            values = _in_order(context, modules)
            # A side effect of tracing: jit itself would sort the names.
            self._specs = {key: kontext.format_spec(x) for key, x in values.items()}
            return [(jnp.isnan(x).sum(), jnp.isinf(x).sum()) for x in values.values()]

        return count


def _in_order(context: Context, modules: list[tuple[str, ...]]) -> dict[str, Any]:
    """Returns the floating-point values by key; those of modules as they returned."""
    rank = {str(kontext.Path("interms", *path)): i for i, path in enumerate(modules)}
    values: dict[str, Any] = {}
    for group in _GROUPS:
        flat = kontext.flatten_with_path(getattr(context, group), prefix=group)
        keys = list(flat)
        if group == "interms":
            last = len(modules)
            keys.sort(key=lambda key: rank.get(_without_index(key), last))
        values |= {key: flat[key] for key in keys}
    return {k: x for k, x in values.items() if jnp.issubdtype(x.dtype, jnp.inexact)}


def _without_index(key: str) -> str:
    """Returns the path of a module's method, without the path into its output."""
    parts = kontext.Path.from_str(key).parts
    first = next((i for i, part in enumerate(parts) if not isinstance(part, str)), None)
    return str(kontext.Path(*parts[:first]))
