"""Gradients with f32 accumulation of sums, whatever dtype the model computes in.

Where a model broadcasts a bias, looks up an embedding or uses a weight in every step of a
scan, its gradient contains a sum, in the dtype of the cotangents. In bf16 a sum of
equal terms stalls after 256 of them where the backend adds sequentially, as CPUs do.

So a backward pass with such values is traced and then run with these sums in f32,
whatever the model is made of. The result of a sum stays in f32 until something other
than a sum or a change of shape reads it, such as the optimizer. Nothing else changes:
the forward pass is that of the evaluators, and matrix products and convolutions
accumulate in f32, and are rounded once: anyway, or, on CPUs, because it is said.

Keeping parameters in f32 and casting them at each use would not help: the sum over a
broadcast comes after the cast, and modules outside of Flax cast where they like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kauldron._base import scan_parameters
from kauldron.ktyping import Array, DType, PyTree
from kauldron.step import _jaxprs, _sum_analysis


def value_and_pull_back(
    function: Callable[[Any], tuple[Any, Any]], primals: PyTree
) -> tuple[Any, Callable[[Any], Any], Any]:
    """Returns what `jax.vjp(function, primals, has_aux=True)` does, with sums in f32.

    Args:
      function: From `primals` to values and anything else, inside or outside of jit.
      primals: Tree of arrays. Integers have cotangents of dtype `float0`, as in JAX.

    Returns:
      The values; a function from cotangents of the values to those of `primals`, in the
      dtypes of `primals`; and what else the function returned.
    """
    values, pull_back, aux = jax.vjp(function, primals, has_aux=True)
    if not _sum_analysis.may_have_narrow(pull_back):  # nothing to trace again
        return values, lambda cotangents: pull_back(cotangents)[0], aux

    def pull_back_in_f32(cotangents: PyTree) -> Any:
        others: list[Any] = []
        structure: Any = None

        def run(cotangents: PyTree) -> list[Any]:
            nonlocal others, structure
            (result,) = pull_back(cotangents)
            leaves, structure = jax.tree.flatten(result)
            others = [None if _is_array(x) else x for x in leaves]
            return [x for x in leaves if _is_array(x)]

        closed = jax.make_jaxpr(run)(cotangents)
        outputs = iter(_run_closed(closed, jax.tree.leaves(cotangents)))
        return structure.unflatten(next(outputs) if x is None else x for x in others)

    return values, pull_back_in_f32, aux


def grad(
    function: Callable[[Any], tuple[jax.Array, Any]], primals: PyTree
) -> tuple[Any, Any]:
    """Returns the gradient of a scalar by `primals`, and what else `function` returns."""
    value, pull_back, aux = value_and_pull_back(function, primals)
    return pull_back(jnp.ones_like(value)), aux


def _is_array(x: object) -> bool:
    return getattr(x, "dtype", None) != jax.dtypes.float0


def _run_closed(closed: _jaxprs.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    """Runs a program; each output has the dtype that it had."""
    outputs = _Run(closed.jaxpr).run(closed.consts, inputs)
    return [
        _narrow(x, _sum_analysis.dtype_of(var))
        for x, var in zip(outputs, closed.jaxpr.outvars, strict=True)
    ]


class _Run:
    """One run of a program.

    Values may be wider than their variables: f32 where the program has bf16.

    Args:
      jaxpr: The program.
      is_sum: For each output, whether it continues as a sum, as a gradient does.
    """

    def __init__(
        self, jaxpr: _jaxprs.Jaxpr, is_sum: Sequence[bool] | None = None
    ) -> None:
        self._jaxpr = jaxpr
        self._sums = _sum_analysis.sums_of(jaxpr, is_sum or [True] * len(jaxpr.outvars))
        self._values: dict[_jaxprs.Var, Any] = {}
        self._on_cpu = jax.default_backend() == "cpu"

    def run(self, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Returns the outputs, which may be wider than those of the program."""
        self._values |= zip(self._jaxpr.constvars, consts, strict=True)
        self._values |= zip(self._jaxpr.invars, inputs, strict=True)
        for equation in self._jaxpr.eqns:
            self._values |= self._evaluate(equation)
        return [_jaxprs.read(x, self._values) for x in self._jaxpr.outvars]

    def _evaluate(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        name = equation.primitive.name
        if name in _sum_analysis.SUMS and _sum_analysis.has_narrow(equation):
            return self._add_up(equation)
        if name == "add_any" and self._is_sum(equation):
            return self._add_up(equation)
        if name == "dot_general" and self._on_cpu and self._is_sum(equation):
            return self._multiply(equation)
        if name in _sum_analysis.MOVES and self._is_any_wide(equation):
            return self._move(equation)
        if _sum_analysis.has_sums(equation):
            return self._run_inside(equation)
        return _jaxprs.evaluate(equation, self._narrowed(equation))

    def _is_sum(self, equation: _jaxprs.JaxprEqn) -> bool:
        return _sum_analysis.has_narrow(equation) and (
            equation.outvars[0] in self._sums or self._is_any_wide(equation)
        )

    def _add_up(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        inputs = [_widen(x) for x in self._read(equation)]
        params = equation.params
        if equation.primitive.name not in ("scatter-add", "scatter_add"):
            return _jaxprs.bind(equation, inputs, params)
        # Its parameters hold an addition in the dtype that it was made for.
        names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        outputs = jax.lax.scatter_add(*inputs, **{n: params[n] for n in names})
        return {equation.outvars[0]: outputs}

    def _multiply(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        # Where one side is the same in all rows, XLA makes a sum of the product, in the
        # dtype of its result: on a CPU, from jaxlib 0.11.1 on, one term after the other.
        inputs = [_widen(x) for x in self._read(equation)]
        params = {**equation.params, "preferred_element_type": jnp.dtype("float32")}
        (var,) = equation.outvars
        (product,) = _jaxprs.bind(equation, inputs, params).values()
        return {var: _narrow(product, _sum_analysis.dtype_of(var))}

    def _move(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        inputs = self._read(equation)
        if equation.primitive.name != "convert_element_type":
            return _jaxprs.bind(equation, inputs, equation.params)
        dtype = equation.params["new_dtype"]
        if not jnp.issubdtype(dtype, jnp.floating):
            return _jaxprs.evaluate(equation, self._narrowed(equation))
        (x,) = inputs
        return {
            equation.outvars[0]: x
            if _sum_analysis.is_narrow(dtype)
            else x.astype(dtype)
        }

    def _run_inside(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        """Runs what an equation calls, with the sums inside of it in f32."""
        is_sum = [x in self._sums for x in equation.outvars]
        inputs = [
            x if stays else _narrow(x, _sum_analysis.dtype_of(atom))
            for x, atom, stays in zip(
                self._read(equation),
                equation.invars,
                _sum_analysis.goes_on(equation, is_sum),
                strict=True,
            )
        ]
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            return _run_scan(equation, inputs)
        if name == "shard_map":
            return _run_shard_map(equation, inputs)
        if name == "cond":
            kept = [False] * len(equation.outvars)
            branches = tuple(
                _traced(branch, inputs[1:], may_widen=kept)
                for branch in params["branches"]
            )
            return _jaxprs.bind(equation, inputs, {**params, "branches": branches})
        called = params[_sum_analysis.CALLS[name]]
        closed = _traced(called, inputs, may_widen=is_sum)
        if isinstance(called, _jaxprs.Jaxpr):
            if closed.consts:  # nowhere to put them
                return _jaxprs.evaluate(equation, self._narrowed(equation))
            closed = closed.jaxpr
        return _jaxprs.bind(
            equation, inputs, {**params, _sum_analysis.CALLS[name]: closed}
        )

    def _read(self, equation: _jaxprs.JaxprEqn) -> list[Any]:
        return [_jaxprs.read(x, self._values) for x in equation.invars]

    def _is_any_wide(self, equation: _jaxprs.JaxprEqn) -> bool:
        return any(
            isinstance(x, _jaxprs.Var)
            and _sum_analysis.dtype_of(x) != jnp.result_type(self._values[x])
            for x in equation.invars
            if _sum_analysis.is_narrow(_sum_analysis.dtype_of(x))
        )

    def _narrowed(self, equation: _jaxprs.JaxprEqn) -> dict[_jaxprs.Var, Any]:
        """Returns what an equation reads, in the dtypes of the program."""
        return {
            x: _narrow(self._values[x], _sum_analysis.dtype_of(x))
            for x in equation.invars
            if isinstance(x, _jaxprs.Var)
        }


def _run_scan(
    equation: _jaxprs.JaxprEqn, inputs: Sequence[Any]
) -> dict[_jaxprs.Var, Any]:
    """Runs a scan; carries that its steps only add to are accumulated in f32."""
    params = equation.params
    first, num_carry = scan_parameters.counts(params)
    adds = _sum_analysis.adding_carries(equation)
    inputs = [
        _widen(x) if first <= i < first + num_carry and adds[i - first] else x
        for i, x in enumerate(inputs)
    ]
    num_whole = first + num_carry
    may_widen = adds + [False] * (len(equation.outvars) - num_carry)
    slices = [jax.eval_shape(lambda x: x[0], x) for x in inputs[num_whole:]]
    given = [*inputs[:num_whole], *slices]
    body = _traced(params["jaxpr"], given, may_widen=may_widen)
    return _jaxprs.bind(equation, inputs, {**params, "jaxpr": body})


def _run_shard_map(
    equation: _jaxprs.JaxprEqn, inputs: Sequence[Any]
) -> dict[_jaxprs.Var, Any]:
    params = equation.params

    def run(*inputs: Any) -> list[Any]:
        return _run_closed(_jaxprs.ClosedJaxpr(params["jaxpr"], []), inputs)

    outputs = jax.shard_map(
        run,
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=list(params["out_specs"]),
        axis_names=set(params["newly_manual_axes"]),
        check_vma=params["check_vma"],
    )(*inputs)
    return dict(zip(equation.outvars, outputs, strict=True))


def _traced(
    called: _jaxprs.ClosedJaxpr | _jaxprs.Jaxpr,
    inputs: Sequence[Any],
    *,
    may_widen: Sequence[bool],
) -> _jaxprs.ClosedJaxpr:
    """Returns a program with its sums in f32.

    Args:
      called: The program.
      inputs: As it will get them, or their specs.
      may_widen: For each output, whether it may be in f32.
    """
    is_closed = isinstance(called, _jaxprs.ClosedJaxpr)
    jaxpr, consts = (called.jaxpr, called.consts) if is_closed else (called, [])

    def run(*inputs: Any) -> list[Any]:
        outputs = _Run(jaxpr, may_widen).run(consts, inputs)
        return [
            x if free else _narrow(x, _sum_analysis.dtype_of(var))
            for x, var, free in zip(outputs, jaxpr.outvars, may_widen, strict=True)
        ]

    return jax.make_jaxpr(run)(*inputs)


def _widen(x: Array) -> Any:
    return x.astype(jnp.float32) if _sum_analysis.is_narrow(x.dtype) else x


def _narrow(x: Array, dtype: DType) -> Any:
    return x.astype(dtype) if _sum_analysis.is_narrow(dtype) and x.dtype != dtype else x
