"""Dataflow analysis of a traced gradient: values that are sums or feed only sums.

A program is a jaxpr of a backward pass. "Narrow" are floats of 16 bits and less.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kauldron._base import scan_parameters
from kauldron.ktyping import DType
from kauldron.step import _jaxprs

# Sums over an axis, over a window, or of what goes to the same place.
SUMS = frozenset(
    {
        *("reduce_sum", "cumsum", "reduce_window_sum"),
        *("scatter-add", "scatter_add", "select_and_scatter_add"),
    }
)
# What only moves values or changes their signs.
MOVES = frozenset(
    {
        *(
            "reshape",
            "squeeze",
            "broadcast_in_dim",
            "transpose",
            "rev",
            "copy",
            "copy_p",
        ),
        *("neg", "slice", "sharding_constraint", "convert_element_type"),
    }
)
_ADDS = SUMS | {"add_any"}
_GO_ON = MOVES | {"add_any"}
# Primitives that run a program, and the parameter that holds it. Those with a custom
# derivative rule are not included: they belong to a forward pass that is repeated.
CALLS = {
    **dict.fromkeys(("jit", "pjit", "remat2", "checkpoint"), "jaxpr"),
    **dict.fromkeys(("scan", "shard_map"), "jaxpr"),
    "closed_call": "call_jaxpr",
}
# Primitives transposed by a function that has not been traced yet.
_RULES = frozenset({"custom_lin", "linear_call"})
_PROGRAMS = (_jaxprs.ClosedJaxpr, _jaxprs.Jaxpr)


def sums_of(jaxpr: _jaxprs.Jaxpr, is_sum: Sequence[bool]) -> set[_jaxprs.Var]:
    """Returns the variables that feed only sums on the way to an output.

    Args:
      jaxpr: The program.
      is_sum: For each output, whether it continues as a sum, as a gradient does.
    """
    sums, others = set(), set()
    for x, yes in zip(jaxpr.outvars, is_sum, strict=True):
        if isinstance(x, _jaxprs.Var):
            (sums if yes else others).add(x)
    for equation in reversed(jaxpr.eqns):
        is_sum = [x in sums and x not in others for x in equation.outvars]
        for x, yes in zip(equation.invars, goes_on(equation, is_sum), strict=True):
            if isinstance(x, _jaxprs.Var):
                (sums if yes else others).add(x)
    return sums - others


def goes_on(equation: _jaxprs.JaxprEqn, is_sum: Sequence[bool]) -> list[bool]:
    """Returns of each input whether it goes into those outputs that are sums, only.

    Args:
      equation: Of a program.
      is_sum: Of each output, whether it goes into nothing but sums.
    """
    name, params = equation.primitive.name, equation.params
    if name in _GO_ON:
        return [all(is_sum)] * len(equation.invars)
    if name == "scan":
        first, _ = scan_parameters.counts(params)
        goes_on = [False] * len(equation.invars)
        for i, adds in enumerate(adding_carries(equation)):
            goes_on[first + i] = adds and is_sum[i]
        return goes_on
    if name in CALLS and name != "shard_map":
        jaxpr = _jaxpr_of(params[CALLS[name]])
        sums = sums_of(jaxpr, is_sum)
        return [x in sums for x in jaxpr.invars]
    return [False] * len(equation.invars)


def adding_carries(equation: _jaxprs.JaxprEqn) -> list[bool]:
    """Returns of each carry of a scan whether its steps only add to it, in 16 bits."""
    jaxpr = equation.params["jaxpr"].jaxpr
    first, num_carry = scan_parameters.counts(equation.params)
    return [
        is_narrow(dtype_of(jaxpr.invars[first + i]))
        and jaxpr.outvars[i] is not jaxpr.invars[first + i]
        and _only_adds(jaxpr, jaxpr.invars[first + i], jaxpr.outvars[i])
        for i in range(num_carry)
    ]


def _only_adds(jaxpr: _jaxprs.Jaxpr, var: _jaxprs.Var, out: Any) -> bool:
    """Whether an output is an input plus something that does not depend on it."""
    uses = collections.Counter(
        x
        for atoms in (jaxpr.outvars, *(e.invars for e in jaxpr.eqns))
        for x in atoms
        if isinstance(x, _jaxprs.Var)
    )
    makers = {x: equation for equation in jaxpr.eqns for x in equation.outvars}

    def is_reached(x: Any) -> bool:
        if not isinstance(x, _jaxprs.Var) or uses[x] != 1:
            return False
        if x is var or x not in makers:
            return x is var
        maker = makers[x]
        name = maker.primitive.name
        if name == "add_any":
            return any(map(is_reached, maker.invars))
        if name not in CALLS or name in ("scan", "shard_map"):
            return False
        called = _jaxpr_of(maker.params[CALLS[name]])
        inner = called.outvars[maker.outvars.index(x)]
        return any(
            is_reached(given) and _only_adds(called, own, inner)
            for given, own in zip(maker.invars, called.invars, strict=True)
        )

    return is_reached(out)


def has_sums(equation: _jaxprs.JaxprEqn) -> bool:
    """Whether there are narrow sums in what an equation calls."""
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        called = params["branches"]
    elif name in CALLS:
        called = [params[CALLS[name]]]
    else:
        return False
    return any(
        (has_narrow(e) and e.primitive.name in _ADDS) or has_sums(e)
        for jaxpr in map(_jaxpr_of, called)
        for e in jaxpr.eqns
    )


def may_have_narrow(pull_back: Callable[..., Any]) -> bool:
    """Whether the backward pass of a `jax.vjp` may have narrow values.

    It has the dtypes of the linear program that it transposes; only the dtypes inside
    custom derivative rules are not known before they run.
    """
    jaxpr = getattr(pull_back, "jaxpr", None)
    return not isinstance(jaxpr, _jaxprs.Jaxpr) or _is_narrow_anywhere(jaxpr)


def _is_narrow_anywhere(jaxpr: _jaxprs.Jaxpr) -> bool:
    if any(is_narrow(dtype_of(x)) for x in (*jaxpr.constvars, *jaxpr.invars)):
        return True
    for equation in jaxpr.eqns:
        if equation.primitive.name in _RULES or has_narrow(equation):
            return True
        params = jax.tree.leaves(list(equation.params.values()))
        called = [x for x in params if isinstance(x, _PROGRAMS)]
        if any(_is_narrow_anywhere(_jaxpr_of(x)) for x in called):
            return True
    return False


def _jaxpr_of(called: _jaxprs.ClosedJaxpr | _jaxprs.Jaxpr) -> _jaxprs.Jaxpr:
    return called.jaxpr if isinstance(called, _jaxprs.ClosedJaxpr) else called


def has_narrow(equation: _jaxprs.JaxprEqn) -> bool:
    return any(is_narrow(dtype_of(x)) for x in equation.outvars)


def dtype_of(atom: Any) -> Any:
    return getattr(atom.aval, "dtype", None)


def is_narrow(dtype: DType) -> bool:
    return (
        dtype is not None
        and jnp.issubdtype(dtype, jnp.floating)
        and jnp.dtype(dtype).itemsize < 4
    )
