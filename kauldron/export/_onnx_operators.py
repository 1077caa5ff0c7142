"""Operators of JAX as nodes of ONNX: element by element, shapes, reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.export._onnx_graph import Graph, Lowering, refuse

_SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh",
    "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log", "logistic": "Sigmoid",
    "neg": "Neg", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt",
    "tan": "Tan", "tanh": "Tanh",
    "add": "Add", "add_any": "Add", "div": "Div", "eq": "Equal", "ge": "GreaterOrEqual",
    "gt": "Greater", "le": "LessOrEqual", "lt": "Less", "max": "Max", "min": "Min",
    "mul": "Mul", "pow": "Pow", "sub": "Sub",
    "copy": "Identity", "copy_p": "Identity", "reduce_precision": "Identity",
}  # fmt: skip
_LOGIC = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}
_BITS = {
    "and": "BitwiseAnd",
    "or": "BitwiseOr",
    "xor": "BitwiseXor",
    "not": "BitwiseNot",
}
_REDUCTIONS = {
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
}


def _same(operator: str) -> Lowering:
    return lambda graph, equation, inputs: graph.one(operator, *inputs)


def _logic(graph: Graph, equation: Any, inputs: list[str]) -> str:
    is_bool = equation.invars[0].aval.dtype == np.bool_
    table = _LOGIC if is_bool else _BITS
    return graph.one(table[equation.primitive.name], *inputs)


def _number(graph: Graph, equation: Any, value: float) -> str:
    return graph.constant(value, equation.invars[0].aval.dtype)


def _rsqrt(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Reciprocal", graph.one("Sqrt", *inputs))


def _square(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Mul", inputs[0], inputs[0])


def _integer_pow(graph: Graph, equation: Any, inputs: list[str]) -> str:
    exponent = equation.params["y"]
    if exponent == 2:
        return _square(graph, equation, inputs)
    return graph.one("Pow", inputs[0], _number(graph, equation, exponent))


def _exp2(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Pow", _number(graph, equation, 2), inputs[0])


def _log1p(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Log", graph.one("Add", inputs[0], _number(graph, equation, 1)))


def _expm1(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Sub", graph.one("Exp", *inputs), _number(graph, equation, 1))


def _erfc(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Sub", _number(graph, equation, 1), graph.one("Erf", *inputs))


def _round(graph: Graph, equation: Any, inputs: list[str]) -> str:
    if int(equation.params["rounding_method"]) != 1:
        raise refuse(equation, graph.scope, "it rounds halves away from zero")
    return graph.one("Round", *inputs)


def _rem(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Mod", *inputs, fmod=1)


def _ne(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Not", graph.one("Equal", *inputs))


def _is_finite(graph: Graph, equation: Any, inputs: list[str]) -> str:
    infinite, nan = graph.one("IsInf", *inputs), graph.one("IsNaN", *inputs)
    return graph.one("Not", graph.one("Or", infinite, nan))


def _clamp(graph: Graph, equation: Any, inputs: list[str]) -> str:
    low, value, high = inputs
    return graph.one("Min", graph.one("Max", value, low), high)


def _select(graph: Graph, equation: Any, inputs: list[str]) -> str:
    which, *cases = inputs
    if len(cases) != 2:
        raise refuse(equation, graph.scope, f"it chooses between {len(cases)} values")
    if equation.invars[0].aval.dtype != np.bool_:
        which = graph.cast(which, np.bool_)
    return graph.one("Where", which, cases[1], cases[0])


def _convert(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.cast(inputs[0], equation.params["new_dtype"])


def _reshape(graph: Graph, equation: Any, inputs: list[str]) -> str:
    if equation.params.get("dimensions") is not None:
        raise refuse(equation, graph.scope, "it reads axes in another order")
    return graph.reshape(inputs[0], equation.outvars[0].aval.shape)


def _into_shape(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.reshape(inputs[0], equation.outvars[0].aval.shape)


def _broadcast(graph: Graph, equation: Any, inputs: list[str]) -> str:
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
    operand = equation.invars[0].aval.shape
    aligned: list[Any] = [1] * len(shape)
    for axis, size in zip(axes, operand, strict=True):
        aligned[axis] = size
    value = inputs[0]
    if tuple(aligned) != tuple(operand):
        value = graph.reshape(value, aligned)
    if tuple(aligned) == tuple(shape):
        return value
    return graph.one("Expand", value, graph.shape(shape))


def _transpose(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Transpose", *inputs, perm=list(equation.params["permutation"]))


def _concatenate(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return graph.one("Concat", *inputs, axis=equation.params["dimension"])


def stacked(graph: Graph, names: Sequence[str], *, axis: int) -> str:
    """Returns values side by side on a new axis; empty if the values are."""
    if not all(names):
        return ""
    at = graph.constant([axis], np.int64)
    return graph.one(
        "Concat", *(graph.one("Unsqueeze", x, at) for x in names), axis=axis
    )


def _stack(graph: Graph, equation: Any, inputs: list[str]) -> str:
    return stacked(graph, inputs, axis=equation.params["axis"])


def _split(graph: Graph, equation: Any, inputs: list[str]) -> list[str]:
    sizes = equation.params["sizes"]
    shape = graph.shape(sizes)
    axis = equation.params["axis"]
    return graph.add("Split", [inputs[0], shape], num_outputs=len(sizes), axis=axis)


def _slice(graph: Graph, equation: Any, inputs: list[str]) -> str:
    params, rank = equation.params, len(equation.invars[0].aval.shape)
    return graph.one(
        "Slice",
        inputs[0],
        graph.shape(params["start_indices"]),
        graph.shape(params["limit_indices"]),
        graph.shape(range(rank)),
        graph.shape(params["strides"] or [1] * rank),
    )


def _rev(graph: Graph, equation: Any, inputs: list[str]) -> str:
    axes = equation.params["dimensions"]
    first = [np.iinfo(np.int64).min] * len(axes)
    ends = (graph.shape([-1] * len(axes)), graph.constant(first, np.int64))
    steps = graph.shape([-1] * len(axes))
    return graph.one("Slice", inputs[0], *ends, graph.shape(axes), steps)


def _dynamic_slice(graph: Graph, equation: Any, inputs: list[str]) -> str:
    value, *starts = inputs
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    zero = graph.constant([0], np.int64)
    begins, ends = [], []
    for start, whole, size in zip(starts, shape, sizes, strict=True):
        begin = graph.cast(graph.reshape(start, [1]), np.int64)
        last = graph.one("Sub", graph.size(whole), graph.size(size))
        begin = graph.one("Min", graph.one("Max", begin, zero), last)
        begins.append(begin)
        ends.append(graph.one("Add", begin, graph.size(size)))
    joined = (graph.one("Concat", *names, axis=0) for names in (begins, ends))
    return graph.one("Slice", value, *joined, graph.shape(range(len(shape))))


def _pad(graph: Graph, equation: Any, inputs: list[str]) -> str:
    config = equation.params["padding_config"]
    if any(interior for _, _, interior in config):
        raise refuse(equation, graph.scope, "it pads between elements")
    pads = [low for low, _, _ in config] + [high for _, high, _ in config]
    return graph.one("Pad", inputs[0], graph.shape(pads), inputs[1])


def _iota(graph: Graph, equation: Any, inputs: list[str]) -> str:
    shape, axis = equation.outvars[0].aval.shape, equation.params["dimension"]
    size = graph.one("Squeeze", graph.size(shape[axis]))
    zero, one = (graph.constant(n, np.int64) for n in (0, 1))
    counted = graph.cast(graph.one("Range", zero, size, one), equation.params["dtype"])
    aligned = [n if i == axis else 1 for i, n in enumerate(shape)]
    if len(shape) > 1:
        counted = graph.reshape(counted, aligned)
    return graph.one("Expand", counted, graph.shape(shape))


def _size(graph: Graph, equation: Any, inputs: list[str]) -> str:
    size = graph.one("Squeeze", graph.size(equation.params["dim"]))
    return graph.cast(size, equation.outvars[0].aval.dtype)


def _reduce(graph: Graph, equation: Any, inputs: list[str]) -> str:
    operator = _REDUCTIONS[equation.primitive.name]
    axes = graph.shape(equation.params["axes"])
    if not equation.params["axes"]:
        return inputs[0]
    return graph.one(operator, inputs[0], axes, keepdims=0)


def _reduce_logic(graph: Graph, equation: Any, inputs: list[str]) -> str:
    operator = "ReduceMin" if equation.primitive.name == "reduce_and" else "ReduceMax"
    axes = graph.shape(equation.params["axes"])
    counted = graph.one(operator, graph.cast(inputs[0], np.int32), axes, keepdims=0)
    return graph.cast(counted, np.bool_)


def _arg(graph: Graph, equation: Any, inputs: list[str]) -> str:
    operator = "ArgMax" if equation.primitive.name == "argmax" else "ArgMin"
    (axis,) = equation.params["axes"]
    found = graph.one(operator, inputs[0], axis=axis, keepdims=0)
    return graph.cast(found, equation.params["index_dtype"])


def _cumsum(graph: Graph, equation: Any, inputs: list[str]) -> str:
    axis = graph.constant(equation.params["axis"], np.int64)
    return graph.one("CumSum", inputs[0], axis, reverse=int(equation.params["reverse"]))


def _top_k(graph: Graph, equation: Any, inputs: list[str]) -> list[str]:
    count = graph.constant([equation.params["k"]], np.int64)
    values, indices = graph.add("TopK", [inputs[0], count], num_outputs=2, axis=-1)
    return [values, graph.cast(indices, equation.outvars[1].aval.dtype)]


def _each(graph: Graph, equation: Any, inputs: list[str]) -> list[str]:
    return inputs


LOWERINGS: Mapping[str, Lowering] = {
    **{name: _same(operator) for name, operator in _SAME.items()},
    **dict.fromkeys(_LOGIC, _logic),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("reduce_and", "reduce_or"), _reduce_logic),
    **dict.fromkeys(("argmax", "argmin"), _arg),
    **dict.fromkeys(("squeeze", "expand_dims"), _into_shape),
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "convert_element_type": _convert,
    "cumsum": _cumsum,
    "dim_as_value": _size,
    "dynamic_slice": _dynamic_slice,
    "erfc": _erfc,
    "exp2": _exp2,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "iota": _iota,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _ne,
    "optimization_barrier": _each,
    "stop_gradient": _each,
    "pad": _pad,
    "rem": _rem,
    "reshape": _reshape,
    "rev": _rev,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "stack": _stack,
    "top_k": _top_k,
    "transpose": _transpose,
}
