"""Makes one pass over the examples of the passes in which measurements count.

Each metric counts its hits, and labels that are no classes, in a reduction of its own. XLA on
CPUs makes a program of each, and those take longer to compile than all else that is measured.

Only integers are joined: they are the same in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp

from kauldron.step import _jaxprs, _repetitions

# Of large arrays, more would have to be in memory at the same time.
_MAX_SIZE = 2**20
# A program of more takes longer to compile than two.
_MAX_OPERANDS = 32


class _Operand(NamedTuple):
    """An array that is reduced: from which integer on, by which equation, to what."""

    array: Any
    start: Any
    step: _jaxprs.JaxprEqn
    result: Any


def joined(closed: _jaxprs.ClosedJaxpr) -> _jaxprs.ClosedJaxpr:
    """Returns a program that computes the same, with fewer reductions of measurements."""
    jaxpr = closed.jaxpr
    if jaxpr.effects:  # what is done keeps its order
        return closed
    equations = jaxpr.eqns
    kinds: dict[Any, dict[int, list[_Operand]]] = {}
    for equation in equations:
        if operands := _operands(equation):
            kinds.setdefault(_kind(equation), {})[id(equation)] = operands
    read_by = [*(x.invars for x in equations), jaxpr.outvars]
    used = {x for atoms in read_by for x in atoms if isinstance(x, _jaxprs.Var)}
    same: dict[Any, Any] = {}
    for operands_of in kinds.values():
        equations = _join(equations, operands_of, used, same)

    def read(atom: Any) -> Any:
        return same.get(atom, atom) if isinstance(atom, _jaxprs.Var) else atom

    equations = [x.replace(invars=[read(atom) for atom in x.invars]) for x in equations]
    outvars = [read(atom) for atom in jaxpr.outvars]
    changed = jaxpr.replace(eqns=equations, outvars=outvars)
    return _jaxprs.ClosedJaxpr(changed, closed.consts)


def _kind(equation: Any) -> Any:
    """Returns what is equal for reductions that can be one."""
    return equation.invars[0].aval.shape, equation.params["dimensions"], equation.ctx


def _operands(equation: Any) -> list[_Operand]:
    """Returns what a reduction reduces; nothing if it cannot be joined with others."""
    if equation.primitive is not jax.lax.reduce_p:
        return []
    number = len(equation.outvars)
    arrays, starts = equation.invars[:number], equation.invars[number:]
    body = equation.params["jaxpr"].jaxpr
    pairs = zip(body.invars[:number], body.invars[number:], strict=True)
    is_joinable = (
        _repetitions.is_measured(equation)
        and arrays[0].aval.size <= _MAX_SIZE
        and all(isinstance(x, _jaxprs.Var) for x in arrays)
        and not any(isinstance(x, _jaxprs.Var) for x in starts)
        and all(jnp.issubdtype(x.aval.dtype, jnp.integer) for x in arrays)
        and [x.invars for x in body.eqns] == [list(pair) for pair in pairs]
        and [x.outvars for x in body.eqns] == [[x] for x in body.outvars]
    )
    if not is_joinable:
        return []
    return list(map(_Operand, arrays, starts, body.eqns, equation.outvars))


def _join(
    equations: Sequence[_jaxprs.JaxprEqn],
    operands_of: Mapping[int, Sequence[_Operand]],
    used: set[_jaxprs.Var],
    same: dict[Any, Any],
) -> list[_jaxprs.JaxprEqn]:
    """Returns equations in which some reductions are one, as far as they can be.

    Args:
      equations: In an order in which they can be computed.
      operands_of: Identity of an equation that may be joined -> what it reduces.
      used: Variables that something reads.
      same: Receives results that are not computed again -> the first one.
    """
    before, members, after = [], [], []
    # What can be computed only when the members have been: they do not need each other.
    late: set[Any] = set()
    for equation in equations:
        is_late = any(isinstance(x, _jaxprs.Var) and x in late for x in equation.invars)
        is_member = not is_late and id(equation) in operands_of
        (members if is_member else after if is_late else before).append(equation)
        if is_member or is_late:
            late.update(equation.outvars)
    chosen: dict[Any, _Operand] = {}
    for operand in (x for member in members for x in operands_of[id(member)]):
        if operand.result in used:
            key = operand.array, int(operand.start.val), operand.step.primitive
            first = chosen.setdefault(key, operand)
            if first is not operand:
                same[operand.result] = first.result
    operands = list(chosen.values())
    parts = [
        operands[i : i + _MAX_OPERANDS] for i in range(0, len(operands), _MAX_OPERANDS)
    ]
    return [*before, *(_reduction(part, members[0]) for part in parts), *after]


def _reduction(operands: Sequence[_Operand], like: Any) -> _jaxprs.JaxprEqn:
    """Returns the reduction of all operands; its axes are those of another one."""
    avals = [x.step.outvars[0].aval for x in operands]
    # New ones: several reductions may have one and the same body.
    first, second, results = (list(map(_jaxprs.Var, avals)) for _ in range(3))
    body = like.params["jaxpr"].jaxpr
    steps = [
        x.step.replace(invars=[a, b], outvars=[result])
        for x, a, b, result in zip(operands, first, second, results, strict=True)
    ]
    changed = body.replace(
        invars=[*first, *second],
        outvars=results,
        eqns=steps,
        debug_info=body.debug_info.with_unknown_names(),
    )
    closed = _jaxprs.ClosedJaxpr(changed, [])
    both = jax.extend.core.jaxpr_as_fun(closed)
    params = {"jaxpr": closed, "computation": both}
    return like.replace(
        params={**like.params, **params},
        invars=[*(x.array for x in operands), *(x.start for x in operands)],
        outvars=[x.result for x in operands],
    )
