"""Whether two jaxprs are the same program, as a hashable key of each."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.step import _jaxprs

# Values of constants are compared; larger ones are not kept for that.
_MAX_CONSTANT_BYTES = 2**20
# What they are derived by does not count: a program that is run is derived no more.
_RULES = ("custom_jvp_call", "custom_vjp_call")
# With these, XLA does less: nothing is added, or one multiplies by one.
_SPECIAL = (0.0, 1.0, -1.0)


def is_varying(literal: Any) -> bool:
    """Whether a number could as well be another one: `0.001`, not `0.0` or an integer."""
    value, dtype = literal.val, literal.aval.dtype
    if dtype != jnp.float32 or (
        literal.aval.weak_type and dtype != jnp.result_type(float)
    ):
        return False
    return math.isfinite(value) and float(value) not in _SPECIAL


def of_jaxpr(closed: _jaxprs.ClosedJaxpr) -> Hashable | None:
    """Returns what is equal for programs that compute the same; `None`: not known.

    Functions, such as of callbacks, are the same only if they are identical.
    """
    try:
        key = Keys().of_closed(closed)
        hash(key)
    except TypeError:  # something cannot be compared, or is too large
        return None
    return key


class Keys:
    """Keys of the jaxprs in a program; it must be kept as long as they are used."""

    def __init__(self) -> None:
        self._known: dict[int, Hashable] = {}  # by identity

    def of_closed(self, closed: _jaxprs.ClosedJaxpr) -> Hashable:
        return (self._of(closed.jaxpr), tuple(map(_of_array, closed.consts)))

    def of_literal(self, literal: Any) -> Hashable:
        """Returns the key of a number."""
        return (literal.aval, _of_array(literal.val))

    def _of(self, jaxpr: _jaxprs.Jaxpr) -> Hashable:
        if id(jaxpr) not in self._known:
            self._known[id(jaxpr)] = self._make(jaxpr)
        return self._known[id(jaxpr)]

    def _make(self, jaxpr: _jaxprs.Jaxpr) -> Hashable:
        numbers: dict[Any, int] = {}

        def bind(var: Any) -> Hashable:
            numbers[var] = len(numbers)
            return var.aval

        def read(atom: Any) -> Hashable:
            if isinstance(atom, _jaxprs.Var):
                return numbers[atom]
            return self.of_literal(atom)

        bound = tuple(map(bind, (*jaxpr.constvars, *jaxpr.invars)))
        equations = tuple(
            (
                equation.primitive,
                tuple(map(read, equation.invars)),
                self.of_params(equation),
                tuple(map(bind, equation.outvars)),
                str(equation.source_info.name_stack) or None,
                equation.ctx,
            )
            for equation in jaxpr.eqns
        )
        return (bound, equations, tuple(map(read, jaxpr.outvars)))

    def of_params(self, equation: _jaxprs.JaxprEqn) -> Hashable:
        """Returns the key of the parameters of an equation."""
        params = equation.params
        if equation.primitive.name in _RULES:
            params = {"call_jaxpr": params["call_jaxpr"]}
        return self._of_value(params)

    def _of_value(self, value: Any) -> Hashable:
        if isinstance(value, _jaxprs.ClosedJaxpr):
            return self.of_closed(value)
        if isinstance(value, _jaxprs.Jaxpr):
            return self._of(value)
        if isinstance(value, Mapping):
            names = sorted(value, key=str)
            return tuple((name, self._of_value(value[name])) for name in names)
        if type(value) in (tuple, list):
            return (type(value), *map(self._of_value, value))
        if isinstance(value, (np.ndarray, np.generic, jax.Array)):
            return _of_array(value)
        return (type(value), value)


def _of_array(value: Any) -> Hashable:
    if getattr(value, "nbytes", 0) > _MAX_CONSTANT_BYTES:
        raise TypeError("too large to compare")
    array = np.asarray(value)
    return (str(array.dtype), array.shape, array.tobytes())
