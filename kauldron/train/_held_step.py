"""Steps that give back the state before them if they went wrong.

Choosing between two states at the end is dear on CPU. What was computed from a new value
(new parameters from a new momentum) makes XLA compute that value twice, and copy the old
one before it is overwritten. So each new value is chosen as soon as it is there, and what
depends on it is computed from the choice: the update then runs in place, as it does
without one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

_Jaxpr = jax.extend.core.Jaxpr
_JaxprEqn = jax.extend.core.JaxprEqn
_Var = jax.extend.core.Var


def hold_if(
    step: Callable[..., tuple[Any, jax.Array, Any]], state: Any, *args: Any
) -> tuple[Any, jax.Array, Any]:
    """Runs a step inside jit; if it is to be held, the state stays what it was.

    Args:
      step: From `state, *args` to `next_state, is_held, rest`: a state of the same
        structure, shapes and dtypes, `bool[]`, and any arrays.
      state: The state before the step.
      *args: Further arrays.

    Returns:
      The next state, or `state` where `is_held`; `is_held`; `rest`. Where a step is held,
      what `rest` has of the next state is of no use: it may be that of either one.
    """
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
        values |= _evaluate(equation, values)
    is_held = _read(is_held_var, values)

    olds_of: dict[_Var, Any] = {}
    for var, old in zip(out_vars[num_rest:], olds, strict=True):
        if isinstance(var, _Var):
            olds_of.setdefault(var, old)
    for equation in others:
        for var, value in _evaluate(equation, values).items():
            if var in olds_of:
                value = jnp.where(is_held, olds_of[var], value)
                kept[var] = olds_of[var]
            values[var] = value

    outputs = [_read(var, values) for var in out_vars]
    for i, (var, old) in enumerate(
        zip(out_vars[num_rest:], olds, strict=True), num_rest
    ):
        # One that was there before the verdict, or that stands for two leaves.
        if not isinstance(var, _Var) or kept.get(var) is not old:
            outputs[i] = jnp.where(is_held, old, outputs[i])
    rest, next_state = jax.tree.unflatten(treedef, outputs)
    return next_state, is_held, rest


def _split(jaxpr: _Jaxpr, var: Any) -> tuple[list[_JaxprEqn], list[_JaxprEqn]]:
    """Returns the equations that give a variable, and the others, in their order.

    Those with effects, such as prints, keep their order: nothing is moved past them.
    """
    if jaxpr.effects:
        return jaxpr.eqns, []
    needed, first, others = {var} if isinstance(var, _Var) else set(), [], []
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            others.append(equation)
        else:
            first.append(equation)
            needed.update(x for x in equation.invars if isinstance(x, _Var))
    return first[::-1], others[::-1]


def _evaluate(equation: _JaxprEqn, values: Mapping[_Var, Any]) -> dict[_Var, Any]:
    """Returns the outputs of an equation; names of scopes are kept for profiles."""
    scope = str(equation.source_info.name_stack)
    with (
        jax.named_scope(scope) if scope else contextlib.nullcontext(),
        equation.ctx.manager,
    ):
        outputs = equation.primitive.bind(
            *(_read(x, values) for x in equation.invars),
            **equation.primitive.get_bind_params(equation.params),
        )
    if not equation.primitive.multiple_results:
        outputs = [outputs]
    return dict(zip(equation.outvars, outputs, strict=True))


def _read(atom: Any, values: Mapping[_Var, Any]) -> Any:
    return values[atom] if isinstance(atom, _Var) else atom.val
