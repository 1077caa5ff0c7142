"""Leaves out of a program what losses and metrics compute several times.

Metrics that read the same keys check the same labels and look for the same best class, each
for itself. XLA would find that out, but only after it has read, inlined and simplified
every copy, which takes longer than all else that it does with a small model.

What is no measurement (the model, its gradient, the update) stays as it is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from kauldron.step import _jaxprs, _program_keys

# Names of the scopes in which measurements are taken.
_SCOPES = {"losses", "metrics", "summaries"}


def without_repetitions(closed: _jaxprs.ClosedJaxpr) -> _jaxprs.ClosedJaxpr:
    """Returns a program that computes the same, each measurement's part only once."""
    keys = _program_keys.Keys()
    known: dict[Hashable, list[Any]] = {}
    same: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return same.get(atom, atom) if isinstance(atom, _jaxprs.Var) else atom

    equations = []
    for equation in closed.jaxpr.eqns:
        invars = [read(x) for x in equation.invars]
        key = _key_of(equation, invars, keys)
        before = known.setdefault(key, equation.outvars) if key else equation.outvars
        if before is not equation.outvars and not any(map(_is_dropped, before)):
            same.update(zip(equation.outvars, before, strict=True))
        else:
            equations.append(equation.replace(invars=invars))
    outvars = [read(x) for x in closed.jaxpr.outvars]
    jaxpr = closed.jaxpr.replace(eqns=equations, outvars=outvars)
    return _jaxprs.ClosedJaxpr(jaxpr, closed.consts)


def _key_of(
    equation: _jaxprs.JaxprEqn, invars: list[Any], keys: _program_keys.Keys
) -> Hashable | None:
    """Returns what is equal for equations that compute the same; `None` if none does."""
    if equation.effects or not is_measured(equation):
        return None
    try:
        key = (
            equation.primitive,
            tuple(
                x if isinstance(x, _jaxprs.Var) else keys.of_literal(x) for x in invars
            ),
            keys.of_params(equation),
            equation.ctx,
        )
        hash(key)
    except TypeError:  # something cannot be compared
        return None
    return key


def is_measured(equation: _jaxprs.JaxprEqn) -> bool:
    """Whether an equation is part of a measurement."""
    names = str(equation.source_info.name_stack).split("/")
    return not _SCOPES.isdisjoint(names)


def _is_dropped(var: Any) -> bool:
    """Whether an output has no name, as nothing reads it."""
    return str(var) == "_"
