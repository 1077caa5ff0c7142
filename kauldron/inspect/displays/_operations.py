"""Floating-point operations of a program, by the module they are in; nothing runs.

Products of matrices and convolutions count each multiplication and each addition;
arithmetic on arrays counts one for each element that is made (or summed up). What only
moves numbers counts nothing. A loop counts as often as it runs, a branch as its dearest.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

_ELEMENTWISE_NAMES = """
abs acos acosh add add_any asin asinh atan atan2 atanh cbrt ceil clamp cos cosh digamma div
erf erf_inv erfc exp exp2 expm1 floor integer_pow is_finite lgamma log log1p logistic max
min mul neg nextafter pow rem round rsqrt sign sin sinh sqrt square sub tan tanh
"""
_REDUCTION_NAMES = """
argmax argmin cumlogsumexp cummax cummin cumprod cumsum reduce_max reduce_min reduce_prod
reduce_sum
"""
_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
_REDUCTIONS = frozenset(_REDUCTION_NAMES.split())


class Operations:
    """Counts by module path, and what could not be counted.

    Attributes:
      by_path: Names of modules, outermost first -> operations right in that module.
      has_unknown_loops: Whether a `while` loop was counted once.
    """

    def __init__(self) -> None:
        self.by_path: dict[tuple[str, ...], int] = collections.defaultdict(int)
        self.has_unknown_loops = False

    def inside(self, path: tuple[str, ...]) -> int:
        """Returns the operations of a module with all modules in it."""
        return sum(n for p, n in self.by_path.items() if p[: len(path)] == path)


def count_program(program: Any) -> Operations:
    """Returns the operations of a closed jaxpr.

    Names of modules come from the scopes that Flax opens.
    """
    operations = Operations()
    _count(program.jaxpr, (), 1, operations)
    return operations


def _count(jaxpr: Any, scope: tuple[str, ...], times: int, to: Operations) -> None:
    for eqn in jaxpr.eqns:
        path = (*scope, *_names(str(eqn.source_info.name_stack)))
        name = eqn.primitive.name
        if name == "scan":
            times_inside = times * eqn.params["length"]
            _count(eqn.params["jaxpr"].jaxpr, path, times_inside, to)
        elif name == "cond":
            branches = [
                _of_branch(b.jaxpr, path, times) for b in eqn.params["branches"]
            ]
            dearest = max(branches, key=lambda found: sum(found.by_path.values()))
            for place, number in dearest.by_path.items():
                to.by_path[place] += number
            to.has_unknown_loops |= any(b.has_unknown_loops for b in branches)
        elif inner := list(_inner(eqn.params)):
            to.has_unknown_loops |= name == "while"
            # Of a function with a rule for its gradient, the function itself.
            for sub in inner[:1] if name.startswith("custom_") else inner:
                _count(sub, path, times, to)
        elif number := _operations_of(eqn):
            to.by_path[path] += times * number


def _of_branch(jaxpr: Any, scope: tuple[str, ...], times: int) -> Operations:
    found = Operations()
    _count(jaxpr, scope, times, found)
    return found


def _names(stack: str) -> tuple[str, ...]:
    """Returns the modules of a scope; a method other than `__call__` is no module."""
    return tuple(name for name in stack.split("/") if name and "." not in name)


def _inner(params: Any) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _operations_of(eqn: Any) -> int:
    name = eqn.primitive.name
    out = eqn.outvars[0].aval
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        lhs = eqn.invars[0].aval.shape
        return 2 * _size(out) * math.prod(lhs[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        spec = eqn.params["dimension_numbers"].rhs_spec
        # The kernel's axis of inputs has those of one group alone.
        taps = math.prod(kernel[axis] for axis in spec[1:])
        return 2 * _size(out) * taps
    if name == "ragged_dot_general":
        lhs = eqn.invars[0].aval.shape
        return 2 * _size(out) * lhs[-1]
    if name in _ELEMENTWISE and _is_float(out):
        return _size(out)
    if name in _REDUCTIONS and _is_float(eqn.invars[0].aval):
        return _size(eqn.invars[0].aval)
    return 0


def _is_float(aval: Any) -> bool:
    return hasattr(aval, "dtype") and jnp.issubdtype(aval.dtype, jnp.inexact)


def _size(aval: Any) -> int:
    return math.prod(aval.shape)
