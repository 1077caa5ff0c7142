"""Operators of JAX as nodes of ONNX: convolutions, products, pooling, look-ups."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.export._onnx_graph import Graph, Lowering, refuse, stored_dtype


def _dot(graph: Graph, equation: Any, inputs: list[str]) -> str:
    (left_axes, right_axes), (left_batch, right_batch) = equation.params[
        "dimension_numbers"
    ]
    shapes = [x.aval.shape for x in equation.invars]
    ranks = [len(shape) for shape in shapes]
    dtype = stored_dtype(equation.outvars[0].aval.dtype)
    inputs = [
        name if stored_dtype(x.aval.dtype) == dtype else graph.cast(name, dtype)
        for name, x in zip(inputs, equation.invars, strict=True)
    ]
    is_dense = tuple(left_axes) == (ranks[0] - 1,) and tuple(right_axes) == (0,)
    if is_dense and ranks[1] == 2 and not left_batch:
        return graph.one("MatMul", *inputs)
    letters = iter(string.ascii_lowercase)
    left = [next(letters) for _ in range(ranks[0])]
    right: list[str] = [""] * ranks[1]
    shared = (*zip(left_axes, right_axes, strict=True),)
    batch = (*zip(left_batch, right_batch, strict=True),)
    for i, j in (*shared, *batch):
        right[j] = left[i]
    right = [letter or next(letters) for letter in right]
    result = [left[i] for i in left_batch]
    result += [x for i, x in enumerate(left) if i not in (*left_axes, *left_batch)]
    result += [x for j, x in enumerate(right) if j not in (*right_axes, *right_batch)]
    terms = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    return graph.one("Einsum", *inputs, equation=terms)


def _conv(graph: Graph, equation: Any, inputs: list[str]) -> str:
    params = equation.params
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise refuse(equation, graph.scope, "it has groups of the batch")
    value = _permuted(graph, inputs[0], numbers.lhs_spec)
    is_transposed = any(n != 1 for n in params["lhs_dilation"])
    if is_transposed:
        result = _conv_transpose(graph, equation, value, inputs[1])
    else:
        if any(n < 0 for pair in params["padding"] for n in pair):
            raise refuse(equation, graph.scope, "its padding is negative")
        result = graph.one(
            "Conv",
            value,
            _permuted(graph, inputs[1], numbers.rhs_spec),
            strides=list(params["window_strides"]),
            dilations=list(params["rhs_dilation"]),
            pads=_pads(params["padding"]),
            group=params["feature_group_count"],
        )
    return _permuted(graph, result, np.argsort(numbers.out_spec).tolist())


def _conv_transpose(graph: Graph, equation: Any, value: str, kernel: str) -> str:
    """Adds a convolution of an input with zeros between its elements."""
    params = equation.params
    numbers = params["dimension_numbers"]
    if params["feature_group_count"] != 1 or set(params["window_strides"]) != {1}:
        raise refuse(equation, graph.scope, "it is transposed, with groups or strides")
    out, features, *spatial = numbers.rhs_spec
    sizes = [equation.invars[1].aval.shape[axis] for axis in spatial]
    reach = [(n - 1) * d for n, d in zip(sizes, params["rhs_dilation"], strict=True)]
    pads = [
        (r - low, r - high)
        for r, (low, high) in zip(reach, params["padding"], strict=True)
    ]
    if any(low < 0 for low, _ in pads):
        raise refuse(equation, graph.scope, "its padding is larger than the kernel")
    kernel = _permuted(graph, kernel, (features, out, *spatial))
    axes = range(2, 2 + len(spatial))
    backwards = [-1] * len(spatial)
    first = graph.constant([np.iinfo(np.int64).min] * len(spatial), np.int64)
    kernel = graph.one(
        "Slice",
        kernel,
        graph.shape(backwards),
        first,
        graph.shape(axes),
        graph.shape(backwards),
    )
    return graph.one(
        "ConvTranspose",
        value,
        kernel,
        strides=list(params["lhs_dilation"]),
        dilations=list(params["rhs_dilation"]),
        pads=_pads([(low, max(high, 0)) for low, high in pads]),
        output_padding=[max(-high, 0) for _, high in pads],
    )


def _pool(graph: Graph, equation: Any, inputs: list[str]) -> str:
    params = equation.params
    window, strides = params["window_dimensions"], params["window_strides"]
    dilations = params["window_dilation"]
    if any(n != 1 for n in params["base_dilation"]):
        raise refuse(equation, graph.scope, "its input is dilated")
    axes = [i for i, n in enumerate(window) if n != 1 or strides[i] != 1]
    others = [i for i in range(len(window)) if i not in axes]
    if not axes or any(params["padding"][i] != (0, 0) for i in others):
        raise refuse(equation, graph.scope, "it pads without a window")
    shape, result = (x.aval.shape for x in (equation.invars[0], equation.outvars[0]))
    order = [*others, *axes]
    value = _permuted(graph, inputs[0], order)
    value = graph.reshape(value, [-1, 1, *(shape[i] for i in axes)])
    attrs = {
        "kernel_shape": [window[i] for i in axes],
        "strides": [strides[i] for i in axes],
        "pads": _pads([params["padding"][i] for i in axes]),
    }
    if equation.primitive.name == "reduce_window_max":
        attrs["dilations"] = [dilations[i] for i in axes]
        value = graph.one("MaxPool", value, **attrs)
    else:
        if any(n != 1 for n in dilations):
            raise refuse(equation, graph.scope, "its window is dilated")
        value = graph.one("AveragePool", value, count_include_pad=1, **attrs)
        dtype = equation.invars[0].aval.dtype
        value = graph.one("Mul", value, graph.constant(math.prod(window), dtype))
    value = graph.reshape(value, [result[i] for i in order])
    return _permuted(graph, value, np.argsort(order).tolist())


def _gather(graph: Graph, equation: Any, inputs: list[str]) -> str:
    """Adds a look-up: of whole slices of one axis by Gather, else by GatherND."""
    numbers, sizes = (equation.params[k] for k in ("dimension_numbers", "slice_sizes"))
    shape, of_indices = (x.aval.shape for x in equation.invars)
    mapped, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    others = [axis for axis in range(len(shape)) if axis not in mapped]
    is_whole = all(str(sizes[axis]) == str(shape[axis]) for axis in others)
    if numbers.operand_batching_dims or not is_whole:
        raise refuse(equation, graph.scope, "it looks up parts of slices")
    indices = graph.cast(inputs[1], np.int64)
    batch = of_indices[:-1]
    # The axes of the result: of the indices (negative), and of the operand.
    rows = [axis - len(batch) for axis in range(len(batch))]
    if len(mapped) == 1 and tuple(collapsed) == tuple(mapped):
        (axis,) = mapped
        first = _in_range(graph, graph.reshape(indices, batch), shape[axis], 1)
        value = graph.one("Gather", inputs[0], first, axis=axis)
        found = [*range(axis), *rows, *range(axis + 1, len(shape))]
    else:
        grid = _index_grid(
            graph, indices, batch, [(shape[a], sizes[a]) for a in mapped]
        )
        value = graph.one(
            "GatherND", _permuted(graph, inputs[0], [*mapped, *others]), grid
        )
        found = [*rows, *mapped, *others]
        dropped = [i for i, axis in enumerate(found) if axis in collapsed]
        if dropped:
            value = graph.one("Squeeze", value, graph.shape(dropped))
            found = [axis for axis in found if axis not in collapsed]
    kept = iter(axis for axis in range(len(shape)) if axis not in collapsed)
    of_rows = iter(rows)
    wanted = [
        next(kept) if i in numbers.offset_dims else next(of_rows)
        for i in range(len(found))
    ]
    return _permuted(graph, value, [found.index(axis) for axis in wanted])


def _index_grid(
    graph: Graph, indices: str, batch: Sequence[Any], sizes: Sequence[tuple[Any, Any]]
) -> str:
    """Returns indices `i64[*batch *slice n]` of every element of slices.

    Args:
      graph: The graph.
      indices: `i64[*batch n]`, where slices begin.
      batch: Sizes.
      sizes: Of each of the n axes, and of slices there.
    """
    full = [*batch, *(size for _, size in sizes)]
    parts = []
    for i, (whole, size) in enumerate(sizes):
        begin = graph.one("Gather", indices, graph.constant(i, np.int64), axis=-1)
        begin = _in_range(graph, begin, whole, size)
        begin = graph.reshape(begin, [*batch, *(1 for _ in sizes)])
        zero, one = (graph.constant(n, np.int64) for n in (0, 1))
        end = graph.one("Squeeze", graph.size(size))
        steps = graph.one("Range", zero, end, one)
        steps = graph.reshape(steps, [size if i == j else 1 for j in range(len(sizes))])
        part = graph.one("Expand", graph.one("Add", begin, steps), graph.shape(full))
        parts.append(graph.one("Unsqueeze", part, graph.shape([len(full)])))
    return graph.one("Concat", *parts, axis=-1)


def _in_range(graph: Graph, indices: str, whole: Any, size: Any) -> str:
    """Returns indices at which a slice fits in: others would end the run."""
    last = graph.one("Sub", graph.size(whole), graph.size(size))
    last = graph.one("Squeeze", last)
    indices = graph.one("Max", indices, graph.constant(0, np.int64))
    return graph.one("Min", indices, last)


def _permuted(graph: Graph, name: str, order: Sequence[int]) -> str:
    order = [int(i) for i in order]
    if order == list(range(len(order))):
        return name
    return graph.one("Transpose", name, perm=order)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [low for low, _ in padding] + [high for _, high in padding]


LOWERINGS: Mapping[str, Lowering] = {
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "gather": _gather,
    "reduce_window_max": _pool,
    "reduce_window_sum": _pool,
}
