"""Interpreting jaxprs equation by equation."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.extend.core

ClosedJaxpr: TypeAlias = jax.extend.core.ClosedJaxpr
Jaxpr: TypeAlias = jax.extend.core.Jaxpr
JaxprEqn: TypeAlias = jax.extend.core.JaxprEqn
Var: TypeAlias = jax.extend.core.Var


def evaluate(equation: JaxprEqn, values: Mapping[Var, Any]) -> dict[Var, Any]:
    """Returns the outputs of an equation.

    The line that it comes from and the names of its scopes stay, for errors and profiles.

    Args:
      equation: Of a jaxpr.
      values: Of the variables before it.
    """
    inputs = list(dict.fromkeys(x for x in equation.invars if isinstance(x, Var)))
    jaxpr = _empty().replace(
        invars=inputs,
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
    )
    run = jax.extend.core.jaxpr_as_fun(ClosedJaxpr(jaxpr, []))
    outputs = run(*(values[x] for x in inputs))
    return dict(zip(equation.outvars, outputs, strict=True))


@functools.cache
def _empty() -> Jaxpr:
    return jax.make_jaxpr(list)().jaxpr


def read(atom: Any, values: Mapping[Var, Any]) -> Any:
    """Returns the value of a variable, or of a literal."""
    return values[atom] if isinstance(atom, Var) else atom.val


def bind(
    equation: JaxprEqn, inputs: Sequence[Any], params: Mapping[str, Any]
) -> dict[Var, Any]:
    """Returns the outputs of an equation on other inputs, with other parameters."""
    scope = str(equation.source_info.name_stack)
    with (
        jax.named_scope(scope) if scope else contextlib.nullcontext(),
        equation.ctx.manager,
    ):
        outputs = equation.primitive.bind(
            *inputs, **equation.primitive.get_bind_params(dict(params))
        )
    if not equation.primitive.multiple_results:
        outputs = [outputs]
    return dict(zip(equation.outvars, outputs, strict=True))


def call(closed: ClosedJaxpr, name: str, *args: Any) -> list[Any]:
    """Returns what a jaxpr returns, as a call of a jitted function of that name.

    Where this is traced, the jaxpr becomes part of the program as it is; evaluating it would
    trace each equation again.
    """
    config: Any = jax.config
    if config.jax_disable_jit:
        return jax.extend.core.jaxpr_as_fun(closed)(*args)
    (template,) = jax.make_jaxpr(jax.jit(jax.lax.neg))(0.0).eqns
    numbers = {"in": len(args), "donated": len(args), "out": len(closed.out_avals)}
    params = {
        # What is said of each argument and of each result.
        key: value * numbers[kind] if (kind := key.split("_")[0]) in numbers else value
        for key, value in template.params.items()
    }
    return template.primitive.bind(*args, **{**params, "jaxpr": closed, "name": name})
