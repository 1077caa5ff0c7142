"""Conditional updates: steps that keep the previous state if they went wrong.

On a CPU, selecting between two states at the end is expensive. Anything computed from a
new value (new parameters from a new momentum) makes XLA compute that value twice, and
copy the old one before it is overwritten. So each new value is selected as soon as it
is computed, and what depends on it uses the selection: the update then runs in place,
as it does without one. On a GPU, selecting at the end is as fast, so that is done
there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kauldron.ktyping import PyTree
from kauldron.step import _jaxprs


def hold_if(
    step: Callable[..., tuple[Any, jax.Array, Any]], state: PyTree, *args: Any
) -> tuple[Any, jax.Array, Any]:
    """Runs a step inside jit; if it is to be held, the state remains unchanged.

    Args:
      step: From `state, *args` to `next_state, is_held, rest`: a state of the same
        structure, shapes and dtypes, `Bool[""]`, and any arrays.
      state: The state before the step.
      *args: Further arrays.

    Returns:
      The next state, or `state` where `is_held`; `is_held`; `rest`. Where a step is
      held, do not use what `rest` holds of the next state: it may belong to either
      state.
    """
    if jax.default_backend() != "cpu":
        next_state, is_held, rest = step(state, *args)
        return choose(is_held, state, next_state), is_held, rest
    return _hold_each(step, state, *args)


def choose(is_held: jax.Array, old: Any, new: Any) -> Any:
    """Returns `old` where a step is held, else `new`: two trees of arrays."""
    return jax.tree.map(lambda x, y: jnp.where(is_held, x, y), old, new)


def _hold_each(
    step: Callable[..., tuple[Any, jax.Array, Any]], state: Any, *args: Any
) -> tuple[Any, jax.Array, Any]:
    """Selects each value of the next state as soon as it is computed."""
    treedef: Any = None

    def run(*inputs: Any) -> list[Any]:
        nonlocal treedef
        next_state, is_held, rest = step(*inputs)
        leaves, treedef = jax.tree.flatten((rest, next_state))
        return [is_held, *leaves]

    closed = jax.make_jaxpr(run)(state, *args)
    jaxpr, olds = closed.jaxpr, jax.tree.leaves(state)
    is_held_var, *out_vars = jaxpr.outvars
    num_rest = len(out_vars) - len(olds)

    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= zip(jaxpr.invars, jax.tree.leaves((state, *args)), strict=True)
    kept = dict(zip(jaxpr.invars, olds, strict=False))  # values that stay as they are
    verdict, others = _split(jaxpr, is_held_var)
    for equation in verdict:
        values |= _jaxprs.evaluate(equation, values)
    is_held = _jaxprs.read(is_held_var, values)

    olds_of: dict[_jaxprs.Var, Any] = {}
    for var, old in zip(out_vars[num_rest:], olds, strict=True):
        if isinstance(var, _jaxprs.Var):
            olds_of.setdefault(var, old)
    for equation in others:
        for var, value in _jaxprs.evaluate(equation, values).items():
            if var in olds_of:
                value = jnp.where(is_held, olds_of[var], value)
                kept[var] = olds_of[var]
            values[var] = value

    outputs = [_jaxprs.read(var, values) for var in out_vars]
    for i, (var, old) in enumerate(
        zip(out_vars[num_rest:], olds, strict=True), num_rest
    ):
        # It was computed before the decision, or stands for two leaves.
        if not isinstance(var, _jaxprs.Var) or kept.get(var) is not old:
            outputs[i] = jnp.where(is_held, old, outputs[i])
    rest, next_state = jax.tree.unflatten(treedef, outputs)
    return next_state, is_held, rest


def _split(
    jaxpr: _jaxprs.Jaxpr, var: Any
) -> tuple[list[_jaxprs.JaxprEqn], list[_jaxprs.JaxprEqn]]:
    """Returns the equations that compute a variable, and the others, in order.

    Those with effects, such as prints, keep their order: nothing is moved past them.
    """
    if jaxpr.effects:
        return jaxpr.eqns, []
    needed, first, others = {var} if isinstance(var, _jaxprs.Var) else set(), [], []
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            others.append(equation)
        else:
            first.append(equation)
            needed.update(x for x in equation.invars if isinstance(x, _jaxprs.Var))
    return first[::-1], others[::-1]
